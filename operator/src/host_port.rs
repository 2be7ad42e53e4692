//! Places on a network as people write them.

/// `HOST:PORT`, an IPv6 address in brackets (RFC 3986 section 3.2.2).
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colons_of_an_address_are_not_that_of_the_port() {
        assert_eq!(host_port("ns1.example.org", 5353), "ns1.example.org:5353");
        assert_eq!(host_port("2001:db8::1", 443), "[2001:db8::1]:443");
    }
}
