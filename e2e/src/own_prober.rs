//! A prober that a user runs, at a place of its own outside of the cluster, with a clock of its own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use crate::{cluster, command, operator, scenario};

/// This machine, as the cluster sees it.
const ADDRESS: &str = scenario::OUTSIDE[0];
const PORT: u16 = 9543;
/// Of Debian's faketime, below a folder of the architecture. It puts itself between a program and the system's clock.
const FAKETIME: &str = "faketime/libfaketime.so.1";
const CA_SECRET: &str = "rtc-fleet-admin-ca";

/// Killed when it is dropped, also by a panic.
pub struct OwnProber {
    process: Child,
    folder: TempDir,
}

impl OwnProber {
    /// Where its verdicts are read.
    pub fn url() -> String {
        format!("https://{ADDRESS}:{PORT}")
    }

    /// Probes what the probers of the DnsFailover `name` do, with their configuration.
    pub async fn start(client: &Client, namespace: &str, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let at = |file: &str| folder.path().join(file);
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let map = maps.get(&format!("{name}-probe")).await.context("no configuration of probers")?;
        let data = map.data.unwrap_or_default();
        // Authorities, under the name that the configuration has for them.
        for (file, text) in data.iter().filter(|(file, _)| *file != "probe.yaml") {
            fs::write(at(file), text)?;
        }
        fs::write(at("secret"), scenario::SECRET)?;
        let config = data.get("probe.yaml").context("no probe.yaml")?;
        fs::write(at("probe.yaml"), serde_yaml::to_string(&own(serde_yaml::from_str(config)?)?)?)?;
        for (file, text) in admin_files(client).await? {
            fs::write(at(file), text)?;
        }
        Ok(Self { process: spawn(&folder)?, folder })
    }

    /// Steps its clock: so many seconds before or after ours from now on. What it measures by the monotonic clock goes on.
    pub fn step(&self, seconds: i64) -> Result<()> {
        // In one step: it is read with every look at the clock.
        let (new, file) = (self.folder.path().join("clock.new"), clock(&self.folder));
        fs::write(&new, format!("{seconds:+}"))?;
        fs::rename(new, file)?;
        Ok(())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// One that has ended before is an error: nobody was heard meanwhile.
    pub async fn ends(mut self) -> Result<()> {
        ensure!(self.process.try_wait()?.is_none(), "media-node probe has ended by itself:\n{}", self.log());
        self.process.kill().await.context("media-node probe does not end")
    }
}

fn clock(folder: &TempDir) -> PathBuf {
    folder.path().join("clock")
}

/// A static build would not ask the library for the time.
fn program() -> Result<PathBuf> {
    let program = cluster::repository().join("target/debug/media-node");
    ensure!(program.exists(), "{}: build it with cargo build -p media-node", program.display());
    Ok(program)
}

fn faketime() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join(FAKETIME));
    folders.into_iter().find(|path| path.exists()).context("faketime is missing: run e2e/setup/packages.sh clock")
}

fn spawn(folder: &TempDir) -> Result<Child> {
    fs::write(clock(folder), "+0")?;
    let log = fs::File::create(folder.path().join("log"))?;
    command::beside(program()?, &log)?
        .args(["probe", "--config"])
        .arg(folder.path().join("probe.yaml"))
        .env("LD_PRELOAD", faketime()?)
        .env("FAKETIME_TIMESTAMP_FILE", clock(folder))
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .spawn()
        .context("media-node probe does not start")
}

/// The same targets, with files and ports of its own. What it echoes comes back by way of the relay.
fn own(mut config: Value) -> Result<Value> {
    for region in config["regions"].as_object_mut().context("regions")?.values_mut() {
        region["auth"]["secretFiles"] = json!(["secret"]);
    }
    config["admin"] = json!({
        "address": format!("{ADDRESS}:{PORT}"),
        "certificate": "tls.crt", "key": "tls.key", "clientCa": "ca.crt",
    });
    config.as_object_mut().context("an object")?.remove("metrics");
    Ok(config)
}

/// A certificate for [`ADDRESS`] by the operator's own authority, as docs/dns-failover.md has it made.
async fn admin_files(client: &Client) -> Result<[(&'static str, String); 3]> {
    let secret = Api::<Secret>::namespaced(client.clone(), operator::NAMESPACE).get(CA_SECRET).await?;
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| -> Result<String> { Ok(String::from_utf8(data.get(key).context("the CA")?.0.clone())?) };
    let (authority, key) = (text("tls.crt")?, KeyPair::from_pem(&text("tls.key")?)?);
    let issuer = Issuer::from_ca_cert_pem(&authority, key)?;
    let mut params = CertificateParams::new([ADDRESS.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = KeyPair::generate()?;
    let certificate = params.signed_by(&own, &issuer)?;
    Ok([("tls.crt", certificate.pem()), ("tls.key", own.serialize_pem()), ("ca.crt", authority)])
}
