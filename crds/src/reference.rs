//! The API reference: a CustomResourceDefinition's schema → Markdown. Pure; `crdgen` writes it to `docs/reference`.
//!
//! One section an object, one row a field. A field's own rules and those of its object stand below the table, each with
//! the message that a user sees, because they are what the API server says and the table cannot.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool,
};

use crate::{Duration, Interval};

/// Fields whose type is Kubernetes' own, by path: named and linked, not spelled out.
const OF_KUBERNETES: [(&str, &str); 5] = [
    ("spec.placement.affinity", "[Affinity](…#affinity-v1-core)"),
    ("spec.placement.tolerations[]", "[Toleration](…#toleration-v1-core)"),
    ("spec.probers.resources", "[ResourceRequirements](…#resourcerequirements-v1-core)"),
    ("spec.template.resources", "[ResourceRequirements](…#resourcerequirements-v1-core)"),
    ("status.conditions[]", "[Condition](…#condition-v1-meta)"),
];
const KUBERNETES_REFERENCE: &str = "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/";

/// The page of one kind.
pub fn markdown(definition: &CustomResourceDefinition) -> String {
    let names = &definition.spec.names;
    let mut page = Page { text: format!("# {}\n\n", names.kind) };
    page.line("<!-- Written by crdgen from the types in crds/src: `make generate` writes it again. -->\n");
    for version in &definition.spec.versions {
        let Some(schema) = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
            continue;
        };
        page.line(&format!("{}\n", prose(schema)));
        page.line(&format!(
            "API version `{}/{}`, {}, short name {}, category {}.\n",
            definition.spec.group,
            version.name,
            definition.spec.scope.to_lowercase(),
            listed(names.short_names.as_deref().unwrap_or_default()),
            listed(names.categories.as_deref().unwrap_or_default()),
        ));
        page.line("Durations are hours, minutes and seconds in that order, such as `45s`, `10m` or `1h30m`.");
        if has_not_in_effect(schema) {
            page.line("What this release accepts and does not act on yet stands in `status.notInEffect`.");
        }
        page.line("");
        page.rules("", schema);
        page.objects(schema);
        page.columns(version);
    }
    page.text.truncate(page.text.trim_end().len());
    page.text.push('\n');
    page.text
}

struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// `spec` and everything in it, then `status`.
    fn objects(&mut self, root: &JSONSchemaProps) {
        for part in ["spec", "status"] {
            if let Some(schema) = root.properties.as_ref().and_then(|properties| properties.get(part)) {
                self.object(part, schema);
            }
        }
    }

    fn object(&mut self, path: &str, schema: &JSONSchemaProps) {
        self.line(&format!("## {path}\n"));
        self.line(&format!("{}\n", prose(schema)));
        self.line("| Field | Type | Required | Default and limits | Meaning |");
        self.line("|---|---|---|---|---|");
        let required = schema.required.as_deref().unwrap_or_default();
        for (name, field) in schema.properties.iter().flatten() {
            let (default, meaning) = split_default(&prose(field));
            let row = [
                format!("`{name}`"),
                type_of(&format!("{path}.{name}"), field),
                if required.contains(name) { "yes".into() } else { String::new() },
                limits(default, field),
                meaning,
            ];
            self.line(&format!("| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
        }
        self.line("");
        self.rules(path, schema);
        for (name, field) in schema.properties.iter().flatten() {
            if let Some((path, inner)) = described_apart(&format!("{path}.{name}"), field) {
                self.object(&path, inner);
            }
        }
    }

    /// The CEL rules of an object and of those of its fields that have no section of their own.
    fn rules(&mut self, path: &str, schema: &JSONSchemaProps) {
        let mut lines = rules_of(None, schema);
        for (name, field) in schema.properties.iter().flatten() {
            let own_section = described_apart(&format!("{path}.{name}"), field).is_some();
            // A list's own rules belong to the field; those of its items to the items' section.
            if list_item(field).is_some() || !(own_section || path.is_empty()) {
                lines.extend(rules_of(Some(name), field));
            }
        }
        if !lines.is_empty() {
            self.line("Rules:\n");
            for line in &lines {
                self.line(line);
            }
            self.line("");
        }
    }

    fn columns(&mut self, version: &CustomResourceDefinitionVersion) {
        self.line("## Columns of kubectl get\n");
        self.line("| Column | Shows | Only with `-o wide` |");
        self.line("|---|---|---|");
        for column in version.additional_printer_columns.iter().flatten() {
            let wide = if column.priority.unwrap_or(0) > 0 { "yes" } else { "" };
            self.line(&format!("| {} | `{}` | {wide} |", column.name, column.json_path));
        }
        self.line("");
        let scale = version.subresources.as_ref().and_then(|subresources| subresources.scale.as_ref());
        if let Some(scale) = scale {
            self.line(&format!(
                "The scale subresource reads and writes `{}`, and reads `{}` and `{}`.\n",
                scale.spec_replicas_path,
                scale.status_replicas_path,
                scale.label_selector_path.as_deref().unwrap_or_default(),
            ));
        }
    }
}

fn has_not_in_effect(root: &JSONSchemaProps) -> bool {
    let status = root.properties.as_ref().and_then(|properties| properties.get("status"));
    let fields = status.and_then(|status| status.properties.as_ref());
    fields.is_some_and(|fields| fields.contains_key("notInEffect"))
}

fn rules_of(field: Option<&str>, schema: &JSONSchemaProps) -> Vec<String> {
    let field = field.map(|name| format!("`{name}`: ")).unwrap_or_default();
    let rules = schema.x_kubernetes_validations.iter().flatten();
    rules
        .map(|rule| format!("- {field}{}\n  `{}`", rule.message.as_deref().unwrap_or("(no message)"), rule.rule))
        .collect()
}

/// A field that gets a section: an object with fields of ours, or a list of such objects.
fn described_apart<'a>(path: &str, field: &'a JSONSchemaProps) -> Option<(String, &'a JSONSchemaProps)> {
    let (path, inner) = match list_item(field) {
        Some(item) => (format!("{path}[]"), item),
        None => (path.to_owned(), field),
    };
    (kubernetes(&path).is_none() && inner.properties.is_some()).then_some((path, inner))
}

fn list_item(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => Some(item),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    }
}

fn kubernetes(path: &str) -> Option<&'static str> {
    OF_KUBERNETES.iter().find(|(known, _)| *known == path).map(|(_, link)| *link)
}

fn type_of(path: &str, field: &JSONSchemaProps) -> String {
    if let Some(link) = kubernetes(path) {
        return link.replace('…', KUBERNETES_REFERENCE);
    }
    if let Some(item) = list_item(field) {
        return format!("list of {}", type_of(&format!("{path}[]"), item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &field.additional_properties {
        return format!("map of {}", type_of(&format!("{path}{{}}"), value));
    }
    if field.properties.is_some() {
        return format!("[object](#{})", anchor(path));
    }
    if is_duration(field) {
        return "duration".into();
    }
    field.type_.clone().unwrap_or_else(|| "any".into())
}

/// As GitHub makes them from headings: letters, digits, hyphens and underscores.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
}

fn limits(default: Option<String>, field: &JSONSchemaProps) -> String {
    let mut parts: Vec<String> = default.into_iter().collect();
    parts.extend(field.default.as_ref().map(|value| format!("Default `{}`", value.0)));
    parts.extend(bounds(field));
    if let Some(keys) = &field.x_kubernetes_list_map_keys {
        parts.push(format!("unique by {}", listed(keys)));
    }
    let of_each = match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(item)), _) => bounds(item),
        (_, Some(JSONSchemaPropsOrBool::Schema(value))) => bounds(value),
        _ => Vec::new(),
    };
    parts.extend(of_each.into_iter().map(|part| format!("each {part}")));
    parts.join("; ")
}

fn bounds(field: &JSONSchemaProps) -> Vec<String> {
    if is_duration(field) {
        return Vec::new(); // The page says once how a duration is written: its type names it.
    }
    let mut parts = Vec::new();
    if let Some(values) = &field.enum_ {
        let values: Vec<String> = values.iter().filter_map(|value| value.0.as_str().map(str::to_owned)).collect();
        parts.push(format!("one of {}", listed(&values)));
    }
    parts.extend(range(field.minimum.map(whole), field.maximum.map(whole), ""));
    parts.extend(range(text(field.min_length), text(field.max_length), " characters"));
    parts.extend(range(text(field.min_items), text(field.max_items), " items"));
    parts.extend(range(text(field.min_properties), text(field.max_properties), " entries"));
    parts.extend(field.pattern.as_ref().map(|pattern| format!("`{pattern}`")));
    parts
}

fn is_duration(field: &JSONSchemaProps) -> bool {
    [Duration::PATTERN, Interval::PATTERN].map(Some).contains(&field.pattern.as_deref())
}

fn text(number: Option<i64>) -> Option<String> {
    number.map(|number| number.to_string())
}

fn whole(number: f64) -> String {
    format!("{number}")
}

fn range(least: Option<String>, most: Option<String>, what: &str) -> Option<String> {
    match (least, most) {
        (None, None) => None,
        (Some(least), None) => Some(format!("at least {least}{what}")),
        (None, Some(most)) => Some(format!("at most {most}{what}")),
        (Some(least), Some(most)) if least == most => Some(format!("{least}{what}")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}{what}")),
    }
}

/// Defaults stand in descriptions, as `Default …`, because nothing is defaulted into a spec. That sentence goes into
/// the column of limits, the others stay.
fn split_default(description: &str) -> (Option<String>, String) {
    let sentences: Vec<&str> = description.split_inclusive(". ").collect();
    let (default, rest): (Vec<&str>, Vec<&str>) =
        sentences.into_iter().partition(|sentence| sentence.starts_with("Default"));
    let default = default.first().map(|sentence| sentence.trim_end_matches(['.', ' ']).to_owned());
    (default, rest.concat().trim_end().to_owned())
}

fn prose(schema: &JSONSchemaProps) -> String {
    let words = schema.description.as_deref().unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('<', "&lt;")
}

fn listed(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}`{name}`");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        markdown(&crate::definition::all()[0])
    }

    #[test]
    fn a_default_moves_from_the_description_to_the_limits() {
        for (description, default, rest) in [
            (
                "First port. Default 49152 (RFC 8656 section 7.2).",
                Some("Default 49152 (RFC 8656 section 7.2)"),
                "First port.",
            ),
            (
                "Keys. Default: a, b. The second may be missing.",
                Some("Default: a, b"),
                "Keys. The second may be missing.",
            ),
            ("Managed (the default): we run it.", None, "Managed (the default): we run it."),
        ] {
            assert_eq!(split_default(description), (default.map(str::to_owned), rest.to_owned()), "{description}");
        }
    }

    #[test]
    fn a_row_says_type_need_limits_and_meaning() {
        let page = page();
        for row in [
            "| `minPort` | integer |  | Default 49152 (RFC 8656 section 7.2); 1024 to 65535 | First relayed port. |",
            "| `realm` | string | yes | 1 to 63 characters; ",
            "| `maxTtl` | duration |  | Default 24h | How far away the expiry of a credential may be. |",
            "| `listeners` | list of [object](#speclisteners) |  | Default: UDP 3478 and TCP 3478, and TLS 443 if tls is written; 1 to 8 items; unique by `name` |",
            "| `nodeSelector` | map of string |  | at most 16 entries; each at most 63 characters |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }

    #[test]
    fn every_rule_of_the_schema_is_on_the_page_with_its_message() {
        fn messages(schema: &JSONSchemaProps, found: &mut Vec<String>) {
            found.extend(schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.clone()));
            schema.properties.iter().flatten().for_each(|(_, field)| messages(field, found));
            if let Some(item) = list_item(schema) {
                messages(item, found);
            }
        }
        for definition in crate::definition::all() {
            let page = markdown(&definition);
            let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let mut found = Vec::new();
            messages(&schema, &mut found);
            assert!(found.len() > 10, "{found:?}");
            for message in found {
                assert_eq!(page.matches(&message).count(), 1, "{message}");
            }
        }
    }

    #[test]
    fn every_object_that_is_linked_has_a_section() {
        let page = page();
        let sections: Vec<String> = page.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
        for link in page.split("](#").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            assert!(sections.iter().any(|section| section == target), "{target}: {sections:?}");
        }
    }

    #[test]
    fn no_cell_holds_an_unescaped_bar() {
        for row in page().lines().filter(|line| line.starts_with("| `")) {
            let bars = row.replace("\\|", "").matches('|').count();
            assert!(bars == 6 || bars == 4, "{row}");
        }
    }
}
