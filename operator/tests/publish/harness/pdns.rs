use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use super::{KEYS, SECRET, Setup, ZONE, known_keys};

const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

pub fn write(setup: &Setup, directory: &Path) {
    let text = format!(
        "launch=gsqlite3\ngsqlite3-database={0}/db\nlocal-address={1}\nlocal-port={2}\nsocket-dir={0}\ndnsupdate=yes\n\
         allow-dnsupdate-from=\ndaemon=no\nguardian=no\ndisable-syslog=yes\nwrite-pid=no\nsecurity-poll-suffix=\n\
         receiver-threads=1\ndistributor-threads=1\n",
        directory.display(),
        setup.address.ip(),
        setup.address.port()
    );
    fs::write(directory.join("pdns.conf"), text).unwrap();
    let schema = File::open(SCHEMA).expect("the schema of pdns-backend-sqlite3; run e2e/setup/packages.sh dns");
    run(Command::new("sqlite3").arg(directory.join("db")).stdin(schema));
    let pdnsutil = |arguments: &[&str]| {
        run(Command::new("pdnsutil").arg(format!("--config-dir={}", directory.display())).args(arguments));
    };
    pdnsutil(&["load-zone", ZONE, &directory.join("zone").display().to_string()]);
    for (name, algorithm) in known_keys() {
        pdnsutil(&["import-tsig-key", name, algorithm.as_str(), SECRET]);
    }
    let keys = KEYS.map(|(name, _)| name);
    pdnsutil(&[&["set-meta", ZONE, "TSIG-ALLOW-DNSUPDATE"][..], &keys].concat());
    pdnsutil(&["set-meta", ZONE, "ALLOW-DNSUPDATE-FROM", "127.0.0.0/8"]);
    pdnsutil(&["set-meta", ZONE, "SOA-EDIT-DNSUPDATE", "INCREASE"]);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run e2e/setup/packages.sh dns"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn command(directory: &Path) -> (&'static str, Vec<String>) {
    ("pdns_server", vec![format!("--config-dir={}", directory.display())])
}
