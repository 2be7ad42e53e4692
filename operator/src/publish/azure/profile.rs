//! A profile of Traffic Manager as its REST API tells it (api-version 2022-04-01), as much of it as we look at. Pure.

use serde::{Deserialize, Serialize};

use super::error::AzureError;

/// Which profile, as resources are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileId {
    pub subscription: String,
    pub resource_group: String,
    pub profile: String,
}

impl std::fmt::Display for ProfileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "profile {} of resource group {}", self.profile, self.resource_group)
    }
}

/// What a profile says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub is_enabled: bool,
    pub routing: Routing,
    pub endpoints: Vec<Endpoint>,
}

/// How a profile chooses between its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// At random, by weight.
    Weighted,
    /// The first one that works, by priority.
    Priority,
    /// By what callers are, where they are, or all at once.
    Other(String),
}

/// Where a profile sends callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub kind: EndpointKind,
    pub name: String,
    pub is_enabled: bool,
    /// What Traffic Manager's own probes say, such as Online or Degraded.
    pub monitor: Option<String>,
    /// 1 to 1000.
    pub weight: Option<u32>,
    /// 1 to 1000, of each endpoint another; the lowest comes first.
    pub priority: Option<u32>,
}

impl Endpoint {
    /// Names of resources differ by more than case.
    pub fn is_of(&self, region: &str) -> bool {
        self.name.eq_ignore_ascii_case(region)
    }

    /// Traffic Manager leaves it out of answers, though it is enabled.
    pub fn is_down(&self) -> bool {
        let down = |status: &str| ["Degraded", "Stopped"].iter().any(|one| one.eq_ignore_ascii_case(status));
        self.monitor.as_deref().is_some_and(down)
    }
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointKind {
    Azure,
    External,
    Nested,
}

impl EndpointKind {
    const ALL: [Self; 3] = [Self::Azure, Self::External, Self::Nested];

    /// As it stands in URLs.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Azure => "AzureEndpoints",
            Self::External => "ExternalEndpoints",
            Self::Nested => "NestedEndpoints",
        }
    }

    /// Of `Microsoft.Network/trafficManagerProfiles/externalEndpoints`.
    fn of(resource_type: &str) -> Option<Self> {
        let last = resource_type.rsplit('/').next().unwrap_or_default();
        Self::ALL.into_iter().find(|kind| kind.segment().eq_ignore_ascii_case(last))
    }
}

/// A change of one endpoint. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_status: Option<EndpointStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EndpointStatus {
    Enabled,
    Disabled,
}

/// The answer to a question about a profile, in the words of the API.
#[derive(Deserialize)]
struct Told {
    properties: ToldProfile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldProfile {
    profile_status: Option<String>,
    traffic_routing_method: Option<String>,
    #[serde(default)]
    endpoints: Vec<ToldEndpoint>,
}

#[derive(Deserialize)]
struct ToldEndpoint {
    name: String,
    #[serde(rename = "type")]
    resource_type: String,
    #[serde(default)]
    properties: ToldProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldProperties {
    endpoint_status: Option<String>,
    endpoint_monitor_status: Option<String>,
    weight: Option<u32>,
    priority: Option<u32>,
}

impl Profile {
    pub fn read(host: &str, body: &[u8]) -> Result<Self, AzureError> {
        let unreadable = |what: String| AzureError::Unreadable { host: host.to_owned(), what };
        let told: Told = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
        let ToldProfile { profile_status, traffic_routing_method, endpoints } = told.properties;
        let endpoint = |told: ToldEndpoint| {
            let ToldEndpoint { name, resource_type, properties } = told;
            let kind = EndpointKind::of(&resource_type);
            let kind =
                kind.ok_or_else(|| unreadable(format!("endpoint {name} is of the unknown type {resource_type}")))?;
            let ToldProperties { endpoint_status, endpoint_monitor_status: monitor, weight, priority } = properties;
            Ok(Endpoint { kind, name, is_enabled: is_enabled(endpoint_status.as_deref()), monitor, weight, priority })
        };
        Ok(Self {
            is_enabled: is_enabled(profile_status.as_deref()),
            routing: match traffic_routing_method.as_deref() {
                Some(method) if method.eq_ignore_ascii_case("Weighted") => Routing::Weighted,
                Some(method) if method.eq_ignore_ascii_case("Priority") => Routing::Priority,
                other => Routing::Other(other.unwrap_or("none").to_owned()),
            },
            endpoints: endpoints.into_iter().map(endpoint).collect::<Result<_, _>>()?,
        })
    }
}

/// What is not told is the API's default.
fn is_enabled(status: Option<&str>) -> bool {
    status.is_none_or(|status| status.eq_ignore_ascii_case("Enabled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_whatever_the_case_of_its_words() {
        let body = br#"{"properties": {"profileStatus": "enabled", "trafficRoutingMethod": "weighted", "endpoints": [
            {"name": "India", "type": "microsoft.network/trafficmanagerprofiles/EXTERNALENDPOINTS",
             "properties": {"endpointStatus": "disabled", "endpointMonitorStatus": "Stopped", "weight": 5, "priority": 1}}]}}"#;
        let profile = Profile::read("a", body).unwrap();
        let endpoint = Endpoint {
            kind: EndpointKind::External,
            name: "India".into(),
            is_enabled: false,
            monitor: Some("Stopped".into()),
            weight: Some(5),
            priority: Some(1),
        };
        assert!(endpoint.is_of("india") && endpoint.is_down() && !endpoint.is_of("indi"));
        assert_eq!(profile, Profile { is_enabled: true, routing: Routing::Weighted, endpoints: vec![endpoint] });
    }

    #[test]
    fn an_answer_that_is_no_profile_is_said_to_be_none() {
        for body in ["", "{}", "<html>", r#"{"properties": {"endpoints": [{"name": "a", "type": "odd"}]}}"#] {
            let error = Profile::read("management.azure.com:443", body.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("management.azure.com:443: "), "{body}: {error}");
        }
    }
}
