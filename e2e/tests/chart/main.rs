//! The Helm chart, rendered by helm as `make up` runs it. Needs no cluster.

mod examples;
mod operator;
mod rbac;
mod render;
mod values;
