//! The CustomResourceDefinitions in a real API server: what is accepted, what is refused and with which words, and
//! what a user gets back. The operator need not run.

mod definition;
mod dns_failover;
mod objects;
mod rules;
