//! What a machine can carry, as somebody wrote it: the group `capacity`. Pure.

use std::borrow::Cow;

use super::{
    Mistakes, Overrides,
    raw::RawCapacity,
    values::{As, Written},
};

/// What the file says of the machine. Everything that is left out is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    pub interface: Option<InterfaceName>,
    /// Bits a second.
    pub sent: Option<u64>,
    /// Bits a second.
    pub received: Option<u64>,
    /// A second, both ways together.
    pub packets: Option<u64>,
    /// As the cloud calls it.
    pub machine_type: Option<String>,
}

/// A quantity with a decimal suffix, as Kubernetes writes them. From 1 to a thousand million million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub u64);

impl Amount {
    const MAX: u64 = 1_000_000_000_000_000;
}

impl Written for Amount {
    const NAME: &'static str = "an amount";
    const EXAMPLES: &'static [&'static str] = &["10G", "2.5G", "400k"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let instead = || "digits and at the most one of k, M, G and T (decimal), such as 10G, 2.5G or 400k";
        let (digits, zeros) = match text.as_bytes().last() {
            Some(b'k') => (&text[..text.len() - 1], 3),
            Some(b'M') => (&text[..text.len() - 1], 6),
            Some(b'G') => (&text[..text.len() - 1], 9),
            Some(b'T') => (&text[..text.len() - 1], 12),
            _ => (text, 0),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(part) || digits.ends_with('.') || digits.len() > 20 {
            return Err(instead().into());
        }
        let part = part.trim_end_matches('0');
        if part.len() > zeros {
            return Err("a whole number, such as 1500000 or 1.5M".into());
        }
        // All digits without the point, and the zeros that the suffix still stands for.
        let amount = format!("{whole}{part}{}", "0".repeat(zeros - part.len())).parse();
        match amount {
            Ok(amount) if (1..=Self::MAX).contains(&amount) => Ok(Self(amount)),
            _ => Err("1 to 1000T, such as 10G".into()),
        }
    }
}

/// The name of a network interface, one that can stand in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(Box<str>);

impl InterfaceName {
    /// Of what the kernel told.
    pub fn new(name: &str) -> Option<Self> {
        // IFNAMSIZ with its final zero is 16; the kernel refuses the rest as well.
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
        let good = (1..16).contains(&name.len()) && name != "." && name != ".." && !name.contains(odd);
        good.then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Written for InterfaceName {
    const NAME: &'static str = "the name of a network interface";
    const EXAMPLES: &'static [&'static str] = &["eth0"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Self::new(text).ok_or_else(|| "a name of 1 to 15 bytes as `ip link` shows it, such as eth0".into())
    }
}

/// Longest name of a machine type.
const MAX_MACHINE_TYPE: usize = 64;

pub fn of(raw: Option<RawCapacity>, overrides: &Overrides, m: &mut Mistakes) -> Capacity {
    let RawCapacity { nic, machine_type } = raw.unwrap_or_default();
    let nic = nic.unwrap_or_default();
    let machine_type = overrides.machine_type.clone().or(machine_type).filter(|name| !name.is_empty());
    if machine_type.as_ref().is_some_and(|name| name.len() > MAX_MACHINE_TYPE) {
        m.add("capacity.machineType", "is too long: write the name that the cloud gives it, such as c5.2xlarge");
    }
    let amount = |written: Option<As<Amount>>| written.map(|As(Amount(amount))| amount);
    Capacity {
        interface: nic.interface.map(|As(name)| name),
        sent: amount(nic.tx),
        received: amount(nic.rx),
        packets: amount(nic.packets),
        machine_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1", 1),
            ("1500000", 1_500_000),
            ("400k", 400_000),
            ("2.5G", 2_500_000_000),
            ("0.50M", 500_000),
            ("10G", 10_000_000_000),
            ("1000T", 1_000_000_000_000_000),
            ("1.0", 1),
        ] {
            assert_eq!(Amount::parse(text), Ok(Amount(expected)), "{text}");
        }
        for text in ["", "G", "10g", "10Gi", "10Gbps", "10 G", "-1G", "+1G", "1.G", ".5G", "1.5", "1.2345k", "0", "0G"]
        {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
        for text in ["1001T", "99999999999999999999", "99999999999999999999T", "0.0000000000001T", "1..5G"] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_in_the_file_system_is_no_interface() {
        for name in ["eth0", "bond0.100", "enp3s0f1np1"] {
            assert!(InterfaceName::new(name).is_some(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../lo", "eth0:1", "eth 0", "sixteen-bytes-xx"] {
            assert!(InterfaceName::new(name).is_none(), "{name}");
        }
    }
}
