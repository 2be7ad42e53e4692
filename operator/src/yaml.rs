//! YAML. The crate that reads and writes it is named here and nowhere else: it is no longer developed.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;
use serde_yaml::Deserializer;
use sha2::{Digest, Sha256};

/// Why a text is not what it should be. Says the field, and the line and column.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct YamlError(#[from] serde_yaml::Error);

/// Cannot fail for what this project writes: keys of its maps are strings.
pub fn text(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

/// By which media nodes tell what text they run by: SHA-256, lower-case hex.
pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text of one document.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    Ok(serde_yaml::from_str(text)?)
}

/// Every document of a text, whatever it holds. Null for an empty one.
pub fn documents(text: &str) -> Result<Vec<Value>, YamlError> {
    Deserializer::from_str(text).map(|document| Ok(Value::deserialize(document)?)).collect()
}

/// The document with this number, from 0. Errors name its field and line, which are lost in a [`Value`].
pub fn document<T: DeserializeOwned>(text: &str, number: usize) -> Result<Option<T>, YamlError> {
    Ok(Deserializer::from_str(text).nth(number).map(T::deserialize).transpose()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// FIPS 180-2, appendix B.1. The node's test has the same.
    #[test]
    fn a_hash_is_what_a_node_makes_of_the_same_bytes() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_mistake_is_told_with_its_field_and_line_in_whichever_document_it_is() {
        let two = "a: 1\n---\nb:\n  c: x\n";
        assert_eq!(documents(two).unwrap(), [serde_json::json!({"a": 1}), serde_json::json!({"b": {"c": "x"}})]);
        let error = document::<BTreeMap<String, BTreeMap<String, u32>>>(two, 1).unwrap_err().to_string();
        assert!(error.contains("b.c: invalid type") && error.contains("line 4"), "{error}");
        assert_eq!(document::<Value>(two, 2).unwrap(), None);
    }
}
