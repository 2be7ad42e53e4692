use std::{fmt::Write as _, fs, net::SocketAddr, path::Path};

use super::{KEYS, SECRET, Setup, ZONE, known_keys};

pub fn write(setup: &Setup, directory: &Path) {
    let (ip, port) = (setup.address.ip(), setup.address.port());
    let mut text = format!(
        "options {{ directory \"{}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file none; \
         session-keyfile none; recursion no; notify no; allow-transfer {{ 127.0.0.0/8; }}; dnssec-validation no; \
         transfer-source {ip}; query-source address {ip}; }};\ncontrols {{ }};\n",
        directory.display()
    );
    for (name, algorithm) in known_keys() {
        writeln!(text, "key \"{name}\" {{ algorithm {}; secret \"{SECRET}\"; }};", algorithm.as_str()).unwrap();
    }
    text.push_str(&setup.primary.map_or_else(|| primary(setup), secondary));
    fs::write(directory.join("named.conf"), text).unwrap();
}

fn primary(setup: &Setup) -> String {
    let grant = |key: &str, name: &String| {
        format!("grant {key}. name {name}. A AAAA; grant {key}. name _rtc-fleet.{name}. TXT;\n")
    };
    let of_key = |(key, _)| setup.names.iter().map(move |name| grant(key, name));
    let grants: String = KEYS.into_iter().flat_map(of_key).collect();
    format!("zone \"{ZONE}\" {{ type primary; file \"zone\"; update-policy {{\n{grants}}}; }};\n")
}

fn secondary(primary: SocketAddr) -> String {
    let (ip, port) = (primary.ip(), primary.port());
    format!(
        "zone \"{ZONE}\" {{ type secondary; file \"copy\"; primaries {{ {ip} port {port}; }}; allow-notify {{ any; }}; }};\n"
    )
}

pub fn command(directory: &Path) -> (&'static str, Vec<String>) {
    let config = directory.join("named.conf").display().to_string();
    ("named", ["-4", "-g", "-n", "1", "-c", &config].map(str::to_owned).into())
}
