//! Flags of `operator dns`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::publish::{
    DnsName,
    rfc2136::{Algorithm, Server},
};

const EXAMPLE: &str = "\
Example: may the key rtc-op publish turn.example.org?

    operator dns check --server ns1.example.org --zone example.org --name turn.example.org \\
      --key-name rtc-op --key-file rtc-op.secret

Asks every server of the zone, configured or named by an NS record, what it tells callers. Sends each
--server a signed update that needs every right of a publication and changes nothing: it deletes
records that cannot be there, such as the address 0.0.0.0.

Exit code: 0 if all is well, 1 if something is to be mended first, 2 if a flag is wrong. How servers
are set up is in docs/dns-providers.md.";

#[derive(Debug, Args)]
pub struct Dns {
    #[command(subcommand)]
    pub command: DnsCommand,
}

#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    /// Say whether answers can be published at servers that take dynamic updates (RFC 2136); writes nothing
    Check(DnsCheck),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct DnsCheck {
    /// A server that takes updates, the zone's primary; again for each, at most 8 [default port: 53]
    #[arg(long = "server", required = true, value_name = "HOST[:PORT]")]
    pub servers: Vec<Server>,
    /// The zone, as its SOA record is named
    #[arg(long)]
    pub zone: DnsName,
    /// The name that is to be published; in the zone
    #[arg(long)]
    pub name: DnsName,
    /// Name of the TSIG key, as the server has it
    #[arg(long)]
    pub key_name: DnsName,
    /// Algorithm of the key: hmac-sha256, hmac-sha384 or hmac-sha512
    #[arg(long, default_value = Algorithm::HmacSha256.as_str())]
    pub algorithm: Algorithm,
    /// File with the secret of the key in base64, and nothing else
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// Port of the servers that NS records name
    #[arg(long, default_value_t = 53, value_parser = clap::value_parser!(u16).range(1..))]
    pub ns_port: u16,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parsed(changed: &[(&str, &str)]) -> Result<DnsCheck, String> {
        let mut flags = vec![
            ("--server", "ns1.example.org:5353"),
            ("--zone", "example.org"),
            ("--name", "turn.example.org"),
            ("--key-name", "rtc-op"),
            ("--key-file", "secret"),
        ];
        flags.retain(|(flag, _)| !changed.iter().any(|(other, _)| other == flag));
        let flags = flags.iter().chain(changed).flat_map(|(flag, value)| [*flag, *value]);
        match Cli::try_parse_from(["operator", "dns", "check"].into_iter().chain(flags)).map(|cli| cli.command) {
            Ok(Command::Dns(Dns { command: DnsCommand::Check(check) })) => Ok(check),
            Ok(_) => panic!("dns check"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_left_out_is_what_most_servers_have() {
        let check = parsed(&[]).unwrap();
        assert_eq!((check.algorithm, check.ns_port), (Algorithm::HmacSha256, 53));
        assert_eq!(check.servers[0].to_string(), "ns1.example.org:5353");
    }

    #[test]
    fn a_wrong_value_says_what_to_write() {
        for (flag, value, expected) in [
            ("--server", "udp://a", "write HOST or HOST:PORT"),
            ("--zone", "example org", "such as turn.example.org"),
            ("--algorithm", "hmac-md5", "write hmac-sha256"),
            ("--ns-port", "0", "1..=65535"),
        ] {
            let said = parsed(&[(flag, value)]).unwrap_err();
            assert!(said.contains(expected), "{flag} {value}: {said}");
        }
    }
}
