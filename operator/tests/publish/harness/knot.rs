use std::{fmt::Write as _, fs, path::Path};

use super::{KEYS, SECRET, Setup, ZONE, known_keys};

pub fn write(setup: &Setup, directory: &Path) {
    let (ip, port, directory_text) = (setup.address.ip(), setup.address.port(), directory.display());
    let mut text = format!(
        "server:\n  rundir: {directory_text}\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {directory_text}\nkey:\n"
    );
    for (name, algorithm) in known_keys() {
        writeln!(text, "  - id: {name}\n    algorithm: {}\n    secret: {SECRET}", algorithm.as_str()).unwrap();
    }
    let keys = KEYS.map(|(name, _)| name).join(", ");
    // One rule, as a rule must allow all of an update.
    let names: Vec<String> =
        setup.names.iter().flat_map(|name| [format!("{name}."), format!("_rtc-fleet.{name}.")]).collect();
    writeln!(
        text,
        "acl:\n  - id: rtc-op\n    key: [{keys}]\n    action: update\n    update-type: [A, AAAA, TXT]\n    \
         update-owner: name\n    update-owner-match: equal\n    update-owner-name: [{}]\nzone:\n  \
         - domain: {ZONE}\n    storage: {directory_text}\n    file: zone\n    acl: rtc-op",
        names.join(", ")
    )
    .unwrap();
    fs::write(directory.join("knot.conf"), text).unwrap();
}

pub fn command(directory: &Path) -> (&'static str, Vec<String>) {
    ("knotd", vec!["-c".into(), directory.join("knot.conf").display().to_string()])
}
