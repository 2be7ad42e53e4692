//! Single values of the file: each knows its name, its range and an example, for the messages and for the JSON Schema.

use std::{borrow::Cow, marker::PhantomData, net::IpAddr, net::SocketAddr, time::Duration};

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::Protocol;
use crate::turn::proto::Realm;

/// Something that is written as a string.
pub trait Written: Sized {
    /// With its article: `a duration`.
    const NAME: &'static str;
    /// As they stand in the file.
    const EXAMPLES: &'static [&'static str];
    /// `Err` holds what to write instead.
    fn parse(text: &str) -> Result<Self, Cow<'static, str>>;
}

/// The examples of `T` as one would type them: YAML reads some of what holds a colon as something else.
fn examples<T: Written>() -> String {
    let typed = |example: &&str| if example.contains(':') { format!("{example:?}") } else { (*example).to_owned() };
    T::EXAMPLES.iter().map(typed).collect::<Vec<_>>().join(" or ")
}

/// The value, or what is wrong and what to write instead.
pub fn parse<T: Written>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|instead| format!("{text:?} is not {}: write {instead}", T::NAME))
}

/// A [`Written`] value of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct As<T>(pub T);

impl<'de, T: Written> Deserialize<'de> for As<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: Written> de::Visitor<'_> for Visitor<T> {
            type Value = As<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} such as {}", T::NAME, examples::<T>())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::parse(text)
                    .map(As)
                    .map_err(|instead| E::custom(format!("{text:?} is not {}: write {instead}", T::NAME)))
            }
        }
        deserializer.deserialize_str(Visitor(PhantomData))
    }
}

impl<T: Written> JsonSchema for As<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": T::EXAMPLES})
    }
}

impl Written for Duration {
    const NAME: &'static str = "a duration";
    const EXAMPLES: &'static [&'static str] = &["30s", "10m", "24h", "1h30m"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let instead = || examples::<Self>().into();
        let span: jiff::SignedDuration = text.parse().map_err(|_| instead())?;
        Self::try_from(span).map_err(|_| instead())
    }
}

impl Written for Protocol {
    const NAME: &'static str = "a protocol";
    const EXAMPLES: &'static [&'static str] = &["UDP", "TCP", "TLS"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "UDP" => Ok(Self::Udp),
            "TCP" => Ok(Self::Tcp),
            "TLS" => Ok(Self::Tls),
            _ => Err(examples::<Self>().into()),
        }
    }
}

impl Written for Realm {
    const NAME: &'static str = "a realm";
    const EXAMPLES: &'static [&'static str] = &["turn.example.org"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Self::parse(text).map_err(|_| {
            format!(
                "1 to {} printable ASCII characters without quotes and backslashes, such as {}",
                Self::MAX,
                examples::<Self>()
            )
            .into()
        })
    }
}

impl Written for SocketAddr {
    const NAME: &'static str = "an address and a port";
    const EXAMPLES: &'static [&'static str] = &["0.0.0.0:3478", "[::]:3478"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        // Kubernetes puts a machine's IPv6 address before the port without brackets.
        let bare = || {
            let (ip, port) = text.rsplit_once(':')?;
            Some(Self::new(ip.parse::<std::net::Ipv6Addr>().ok()?.into(), port.parse().ok()?))
        };
        match text.parse::<Self>().or_else(|error| bare().ok_or(error)) {
            Ok(address) if address.port() != 0 => Ok(address),
            Ok(_) => Err("a port from 1 to 65535".into()),
            Err(_) => Err(examples::<Self>().into()),
        }
    }
}

impl Written for IpAddr {
    const NAME: &'static str = "an IP address";
    const EXAMPLES: &'static [&'static str] = &["203.0.113.7", "2001:db8::7"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let address: Self = text.parse().map_err(|_| examples::<Self>())?;
        // An IPv4 address in IPv6 clothes is of neither family.
        if address.to_canonical() == address { Ok(address) } else { Err(address.to_canonical().to_string().into()) }
    }
}

impl Written for IpNet {
    const NAME: &'static str = "a CIDR";
    const EXAMPLES: &'static [&'static str] = &["10.20.0.0/16", "10.20.0.7", "fd00:20::/48"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let net =
            text.parse::<Self>().or_else(|_| text.parse::<IpAddr>().map(Self::from)).map_err(|_| examples::<Self>())?;
        if let Some(v4) = mapped(net) {
            return Err(format!("{v4}: it holds in IPv6 addresses that carry IPv4 ones, too").into());
        }
        if net.trunc() == net {
            return Ok(net);
        }
        // Two readings are possible, so the writer has to choose.
        Err(format!("{} for the network or {} for the one address", net.trunc(), net.addr()).into())
    }
}

/// The IPv4 network of one that is written in IPv6 clothes: alone, those would deny nothing to who comes without them.
fn mapped(net: IpNet) -> Option<IpNet> {
    let IpNet::V6(net) = net else { return None };
    let inside = net.prefix_len().checked_sub(96)?;
    let v4 = net.network().to_ipv4_mapped()?;
    Ipv4Net::new(v4, inside).ok().map(IpNet::V4)
}

/// A whole number with a range.
pub trait Bounded {
    /// With its article: `a port`.
    const NAME: &'static str;
    const MIN: u32;
    const MAX: u32;
    const EXAMPLE: u32;
}

/// A [`Bounded`] number of the file.
#[derive(Debug)]
pub struct Whole<B>(pub u32, PhantomData<B>);

impl<B> Clone for Whole<B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B> Copy for Whole<B> {}

impl<'de, B: Bounded> Deserialize<'de> for Whole<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<B>(PhantomData<B>);
        impl<B: Bounded> Visitor<B> {
            fn range<E: de::Error>(number: impl std::fmt::Display) -> E {
                E::custom(format!(
                    "{number} is not {}: write {} to {}, such as {}",
                    B::NAME,
                    B::MIN,
                    B::MAX,
                    B::EXAMPLE
                ))
            }
        }
        impl<B: Bounded> de::Visitor<'_> for Visitor<B> {
            type Value = Whole<B>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}: a whole number from {} to {}, such as {}", B::NAME, B::MIN, B::MAX, B::EXAMPLE)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                match u32::try_from(number) {
                    Ok(n) if (B::MIN..=B::MAX).contains(&n) => Ok(Whole(n, PhantomData)),
                    _ => Err(Self::range(number)),
                }
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Err(Self::range(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Err(Self::range(number))
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<B: Bounded> JsonSchema for Whole<B> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        B::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": B::MIN, "maximum": B::MAX, "examples": [B::EXAMPLE]})
    }
}

/// A list whose wrong items were taken out by [`super::yaml::read`] without moving the others.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct List<T>(pub Vec<Option<T>>);

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Vec::<T>::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}
