//! Fields that the API does not have: what `kubectl apply --validate=strict` would refuse.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

/// Paths of fields in `spec` and `status` of `object` that no version of `definition` knows, in the order of the object.
pub fn fields(definition: &CustomResourceDefinition, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in &definition.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let properties = schema.and_then(|schema| schema.properties.as_ref());
        for part in ["spec", "status"] {
            if let Some(schema) = properties.and_then(|properties| properties.get(part)) {
                walk(part, &object[part], schema, &mut found);
            }
        }
    }
    found
}

fn walk(path: &str, value: &Value, schema: &JSONSchemaProps, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                let known = schema.properties.as_ref().and_then(|properties| properties.get(name));
                match (known, &schema.additional_properties) {
                    (Some(schema), _) => walk(&path, value, schema, found),
                    (None, Some(JSONSchemaPropsOrBool::Schema(schema))) => walk(&path, value, schema, found),
                    (None, _) => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for item in items {
                    walk(&format!("{path}[]"), item, schema, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_the_schema_does_not_know_is_found_wherever_it_stands() {
        let object = serde_json::json!({
            "metadata": {"anything": 1},
            "spec": {"region": "a", "relays": 2, "relay": {"port": 1, "minPort": 2}, "listeners": [{"nam": "x"}],
                "placement": {"nodeSelector": {"any": "label"}}},
        });
        let definition = &crate::definition::all()[0];
        assert_eq!(fields(definition, &object), ["spec.listeners[].nam", "spec.relay.port", "spec.relays"]);
    }
}
