//! Several checks against one set-up: each has a name and is reported, and one that fails does not hide the others.

use std::time::Instant;

use anyhow::{Result, bail};

/// What was checked.
#[derive(Default)]
pub struct Checks {
    passed: usize,
    failed: Vec<String>,
}

impl Checks {
    /// Runs one check. Its name is a sentence.
    pub async fn check(&mut self, name: &str, check: impl Future<Output = Result<()>>) {
        let began = Instant::now();
        let outcome = check.await;
        self.note(name, began, outcome);
    }

    /// Takes the outcome of a check that ran elsewhere.
    pub fn note(&mut self, name: &str, began: Instant, outcome: Result<()>) {
        let took = began.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                eprintln!("  ok      {name} ({took:.1} s)");
                self.passed += 1;
            }
            Err(error) => {
                eprintln!("  FAILED  {name} ({took:.1} s): {error:?}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// The verdict. Nothing checked is a failure, too.
    pub fn verdict(self) -> Result<()> {
        match self.failed.as_slice() {
            [] if self.passed > 0 => Ok(()),
            [] => bail!("nothing was checked"),
            failed => bail!("{} of {} checks failed: {}", failed.len(), failed.len() + self.passed, failed.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_check_is_named_and_does_not_hide_the_next() {
        let mut checks = Checks::default();
        checks.check("grass is red", async { bail!("it is green") }).await;
        checks.check("water is wet", async { Ok(()) }).await;
        checks.check("stones swim", async { bail!("they sink") }).await;
        assert_eq!(checks.verdict().unwrap_err().to_string(), "2 of 3 checks failed: grass is red; stones swim");
    }

    #[test]
    fn nothing_checked_is_no_success() {
        assert_eq!(Checks::default().verdict().unwrap_err().to_string(), "nothing was checked");
    }
}
