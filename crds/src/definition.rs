//! The CustomResourceDefinitions as they are installed: what the derive gives, plus what it has no hook for.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{DnsFailover, TurnRegion};

/// Every kind's definition, in the order in which they are documented.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![installed(TurnRegion::crd()), installed(DnsFailover::crd())]
}

/// `status` starts at `observedGeneration: -1`, so that kstatus does not take an object without status for a healthy
/// one; a field that is null counts as left out; and the columns end in Age.
fn installed(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            null_is_absent(schema);
            if let Some(status) = schema.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
                status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
            }
        }
        version.additional_printer_columns.get_or_insert_default().push(CustomResourceColumnDefinition {
            name: "Age".into(),
            type_: "date".into(),
            json_path: ".metadata.creationTimestamp".into(),
            ..Default::default()
        });
    }
    definition
}

/// The derive makes every optional field nullable. The API server then keeps a written `null`, offers "null" as a value
/// of an enum, and fails on `replicas: null` with a message about an accessor. It drops the null of a field that is not
/// nullable, which is what somebody who writes `tls: null` means.
fn null_is_absent(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    for inner in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        null_is_absent(inner);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &mut schema.items {
        null_is_absent(inner);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &mut schema.additional_properties {
        null_is_absent(inner);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Walks a schema and names every string without `maxLength` and every list without `maxItems`.
    fn unbounded(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
        let is = |kind: &str| schema.type_.as_deref() == Some(kind);
        let closed = schema.enum_.is_some() || schema.format.as_deref() == Some("date-time");
        if is("string") && schema.max_length.is_none() && !closed {
            found.push(path.to_owned());
        }
        if is("array") && schema.max_items.is_none() {
            found.push(path.to_owned());
        }
        for (name, inner) in schema.properties.iter().flatten() {
            unbounded(&format!("{path}.{name}"), inner, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
            unbounded(&format!("{path}[]"), inner, found);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &schema.additional_properties {
            unbounded(&format!("{path}.*"), inner, found);
        }
    }

    #[test]
    fn every_list_and_string_of_a_spec_is_bounded_except_in_types_of_kubernetes_itself() {
        for definition in all() {
            let mut found = Vec::new();
            for version in &definition.spec.versions {
                let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
                unbounded("", &schema.properties.as_ref().unwrap()["spec"], &mut found);
            }
            let ours: Vec<_> = found
                .iter()
                .filter(|path| {
                    ![".placement.affinity", ".placement.tolerations[]", ".probers.resources", ".template.resources"]
                        .iter()
                        .any(|k8s| path.starts_with(k8s))
                })
                .collect();
            assert!(ours.is_empty(), "{}: {ours:?}", definition.spec.names.kind);
        }
    }

    #[test]
    fn an_object_without_status_starts_at_generation_minus_one() {
        for definition in all() {
            let version = &definition.spec.versions[0];
            let schema = version.schema.clone().unwrap().open_api_v3_schema.unwrap();
            let status = &schema.properties.unwrap()["status"];
            assert_eq!(status.default.as_ref().unwrap().0, serde_json::json!({ "observedGeneration": -1 }));
        }
    }

    #[test]
    fn no_field_takes_null_for_a_value() {
        fn nulls(path: &str, value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Null => found.push(path.to_owned()),
                Value::Array(items) => items.iter().for_each(|item| nulls(&format!("{path}[]"), item, found)),
                Value::Object(fields) => fields.iter().for_each(|(name, field)| {
                    found.extend((name == "nullable").then(|| path.to_owned()));
                    nulls(&format!("{path}.{name}"), field, found);
                }),
                _ => {}
            }
        }
        let mut found = Vec::new();
        nulls("", &serde_json::to_value(all()).unwrap(), &mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn every_field_of_a_spec_is_explained() {
        fn silent(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
            for (name, inner) in schema.properties.iter().flatten() {
                let path = format!("{path}.{name}");
                if inner.description.as_deref().unwrap_or_default().is_empty() {
                    found.push(path.clone());
                }
                silent(&path, inner, found);
            }
            if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &schema.items {
                silent(&format!("{path}[]"), inner, found);
            }
        }
        for definition in all() {
            let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let mut found = Vec::new();
            silent("", &schema, &mut found);
            assert!(found.is_empty(), "{}: {found:?}", definition.spec.names.kind);
        }
    }
}
