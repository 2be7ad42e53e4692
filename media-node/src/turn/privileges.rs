//! Giving up root once everything that needs it is open.

use std::{fs, io};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getgid, getgroups, getresuid, setgroups, setresgid, setresuid},
};

/// Why the process is not the user that it was told to become.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error(
        "--run-as {uid}: {source}: start as root or with CAP_SETUID (and CAP_SETGID where there are supplementary \
         groups), or start as that user without --run-as"
    )]
    Refused { uid: u32, source: Errno },
    #[error("--run-as {uid}: {what} afterwards: this ends the process, because it must not go on with these rights")]
    NotGone { uid: u32, what: String },
    #[error("--run-as {uid}: /proc/self/task cannot be read to see that it took effect: {source}: mount /proc")]
    Unseen { uid: u32, source: io::Error },
}

/// Becomes `uid` for good, with every thread; the group stays what it is. Nothing happens to a process that is that user
/// already.
pub fn become_user(uid: u32) -> Result<(), PrivilegeError> {
    let (gid, user) = (getgid(), Uid::from_raw(uid));
    let refused = |source| PrivilegeError::Refused { uid, source };
    drop_groups(gid);
    // The C library does this to every thread; what is started later inherits it.
    setresgid(gid, gid, gid).map_err(refused)?;
    setresuid(user, user, user).map_err(refused)?;
    check(uid)?;
    tracing::info!(uid, gid = gid.as_raw(), "root is given up: from here on the process is this user");
    Ok(())
}

fn drop_groups(gid: Gid) {
    let groups = getgroups().unwrap_or_default();
    if let (Err(error), true) = (setgroups(&[]), groups.iter().any(|group| *group != gid)) {
        let groups: Vec<_> = groups.iter().map(|group| group.as_raw()).collect();
        tracing::warn!(?groups, %error, "supplementary groups stay: without CAP_SETGID they cannot be dropped");
    }
}

/// Looks at every thread, and tries to get back.
fn check(uid: u32) -> Result<(), PrivilegeError> {
    let not_gone = |what: String| Err(PrivilegeError::NotGone { uid, what });
    let unseen = |source| PrivilegeError::Unseen { uid, source };
    for thread in fs::read_dir("/proc/self/task").map_err(unseen)? {
        let path = thread.map_err(unseen)?.path();
        let status = match fs::read_to_string(path.join("status")) {
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            status => status.map_err(unseen)?,
        };
        if let Some(what) = privileges(&status, uid) {
            return not_gone(format!("thread {} has {what}", path.display()));
        }
    }
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() || getresuid().is_ok_and(|is| is.effective.is_root() || is.saved.is_root()) {
        return not_gone("root could be had again".to_owned());
    }
    Ok(())
}

/// What is left to a thread that is not `uid` alone, from its `/proc/…/status`.
fn privileges(status: &str, uid: u32) -> Option<String> {
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let Some(uids) = line("Uid:") else { return Some("no user in its status".to_owned()) };
    if uids.split_ascii_whitespace().any(|each| each != uid.to_string()) {
        return Some(format!("the users {}", uids.replace('\t', " ")));
    }
    ["CapPrm:", "CapEff:", "CapAmb:"].into_iter().find_map(|key| {
        let set = line(key).unwrap_or("unknown");
        (!set.trim_matches('0').is_empty()).then(|| format!("capabilities left ({key} {set})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "Name:\tturn-0\nUid:\t65532\t65532\t65532\t65532\nGid:\t0\t0\t0\t0\nCapInh:\t0000000000000400\n\
                        CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n\
                        CapAmb:\t0000000000000000\n";

    #[test]
    fn a_thread_with_another_user_or_a_capability_is_found() {
        assert_eq!(privileges(DONE, 65532), None);
        for (case, status, expected) in [
            ("a saved user", DONE.replace("65532\t65532\nGid", "0\t65532\nGid"), "the users 65532 65532 0 65532"),
            ("a capability", DONE.replace("CapPrm:\t0000000000000000", "CapPrm:\t0000000000000080"), "CapPrm:"),
            ("an ambient one", DONE.replace("CapAmb:\t0000000000000000", "CapAmb:\t0000000000000400"), "CapAmb:"),
            ("no status", String::new(), "no user"),
        ] {
            let found = privileges(&status, 65532).unwrap_or_default();
            assert!(found.contains(expected), "{case}: {found}");
        }
    }
}
