//! `media-node credentials`: the side of TURN REST credentials that usually lives in an application server.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::{
    cli::{CredentialsArgs, Failure, Output},
    turn::{proto::Secret, secrets},
};

/// What an application server answers a client.
#[derive(Serialize)]
struct Credentials {
    username: String,
    password: String,
    /// Seconds.
    ttl: u64,
}

pub fn print(args: &CredentialsArgs) -> Result<(), Failure> {
    if args.user.is_empty() {
        return Err(Failure::Usage("--user: is empty: write a name, such as alice".to_owned()));
    }
    let secret = secrets::read_file(&args.secret_file)
        .map_err(|error| Failure::Usage(format!("--secret-file {}: {error}", args.secret_file.display())))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let credentials = make(&secret, &args.user, args.ttl, now);
    let text = match args.output {
        Output::Plain => format!("username {}\npassword {}\n", credentials.username, credentials.password),
        Output::Json => serde_json::to_string_pretty(&credentials).map(|json| json + "\n").unwrap_or_default(),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(format!("stdout: {error}")))
}

fn make(secret: &Secret, user: &str, ttl: Duration, since_1970: Duration) -> Credentials {
    let username = format!("{}:{user}", (since_1970 + ttl).as_secs());
    Credentials { password: secret.password(&username), username, ttl: ttl.as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_name_says_when_it_expires() {
        let secret = Secret::new(b"north").unwrap();
        let made = make(&secret, "alice", Duration::from_hours(1), Duration::from_secs(1_800_000_001));
        assert_eq!((made.username.as_str(), made.ttl), ("1800003601:alice", 3600));
        assert_eq!(made.password, secret.password("1800003601:alice"));
    }
}
