//! Where Azure is, and who the operator is there. Public and sovereign clouds differ in nothing else.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::host_port::host_port;

/// What the operator is told of Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    pub resource_manager: Site,
    /// Where identities sign in.
    pub authority: Site,
    /// The operator's own, where the cluster has given it one.
    pub workload_identity: Option<WorkloadIdentity>,
}

/// An identity that is proved by a token of the cluster (RFC 7523).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadIdentity {
    pub tenant: String,
    pub client: String,
    /// The kubelet writes it anew before it expires.
    pub token_file: PathBuf,
}

/// An origin, such as `https://management.azure.com`. Secrets and tokens go there, so it is HTTPS unless it is on this
/// machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Without a slash at its end.
    origin: String,
    host: String,
    port: u16,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSite {
    #[error("write https://HOST or https://HOST:PORT, such as https://management.azure.com")]
    Unreadable,
    #[error("write https: secrets are sent there (http is for a loopback address only)")]
    Unencrypted,
}

impl Site {
    /// `HOST:PORT`, for firewalls and people.
    pub fn place(&self) -> String {
        host_port(&self.host, self.port)
    }
}

impl FromStr for Site {
    type Err = NoSite;

    fn from_str(text: &str) -> Result<Self, NoSite> {
        let url: http::Uri = text.parse().map_err(|_| NoSite::Unreadable)?;
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(NoSite::Unreadable);
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || authority.as_str().contains('@') {
            return Err(NoSite::Unreadable);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match scheme {
            "https" => 443,
            "http" if host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) => 80,
            "http" => return Err(NoSite::Unencrypted),
            _ => return Err(NoSite::Unreadable),
        };
        if host.is_empty() {
            return Err(NoSite::Unreadable);
        }
        Ok(Self { origin: format!("{scheme}://{authority}"), host, port: authority.port_u16().unwrap_or(port) })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_an_origin_with_or_without_the_last_slash() {
        for (text, origin, place) in [
            ("https://management.azure.com", "https://management.azure.com", "management.azure.com:443"),
            ("https://login.microsoftonline.us/", "https://login.microsoftonline.us", "login.microsoftonline.us:443"),
            ("https://a.example:8443", "https://a.example:8443", "a.example:8443"),
            ("http://127.0.0.1:1080", "http://127.0.0.1:1080", "127.0.0.1:1080"),
            ("http://[::1]:1080/", "http://[::1]:1080", "[::1]:1080"),
        ] {
            let site: Site = text.parse().unwrap();
            assert_eq!((site.to_string().as_str(), site.place().as_str()), (origin, place), "{text}");
        }
    }

    #[test]
    fn secrets_go_nowhere_unencrypted() {
        for text in
            ["http://management.azure.com", "http://localhost:80", "http://192.0.2.1", "http://127.0.0.1.example"]
        {
            assert_eq!(text.parse::<Site>(), Err(NoSite::Unencrypted), "{text}");
        }
        for text in ["", "management.azure.com", "ftp://a", "https://", "https://a/b", "https://a?b", "https://u:p@a"] {
            assert_eq!(text.parse::<Site>(), Err(NoSite::Unreadable), "{text}");
        }
    }
}
