//! Makes the cluster and the nodes what the plan says. Writes only what differs, a bounded number of things a pass.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use rtcfleet_crds::labels;
use serde_json::json;

use super::build::{Objects, admin_meta, admin_server_name};
use super::dereference::target;
use super::observed::{INTENT, Machine, Observed};
use super::secrets::{self, MissingSecret, TlsSecret};
use super::validate::ManagedRegion;
use crate::admin_port::{self, ApplyError};
use crate::context::Ctx;
use crate::decisions::ObjectRef;
use crate::error::with_causes;
use crate::fleet::plan::{Choice, Plan, Step};
use crate::fleet::rollout::Rollout;
use crate::fleet::scale::Scale;
use crate::fleet::slot::{Intent, Slot};
use crate::kube_io::{self, MANAGER, Written};

/// A pass of which something failed. The rest was done, and is told about all the same.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Incomplete {
    /// Decisions that were carried out.
    pub done: Vec<Choice>,
    #[source]
    pub error: ApplyError,
}

/// What was looked at and done: all that status speaks of.
#[derive(Debug)]
pub struct Applied {
    pub scale: Scale,
    pub rollout: Rollout,
    pub max_unavailable: u32,
    /// As they were before this pass.
    pub slots: Vec<Slot>,
    pub machines: Vec<Machine>,
    pub missing: Vec<MissingSecret>,
    /// The Secret of TLS listeners and what is in it; None without a TLS listener.
    pub tls: Option<(String, TlsSecret)>,
    pub revision: String,
    /// Hash of the limits that nodes should run.
    pub limits: String,
    pub selector: BTreeMap<String, String>,
    pub not_in_effect: Vec<String>,
    pub waiting: Vec<String>,
    /// Decisions that were carried out.
    pub done: Vec<Choice>,
    /// Come back at once: something was changed, or there is more to do.
    pub again: bool,
}

pub async fn apply(
    region: &ManagedRegion,
    observed: Observed,
    objects: &Objects,
    scale: Scale,
    plan: Plan,
    ctx: &Ctx,
) -> Result<Applied, Incomplete> {
    let mut writer = Writer { region, objects, ctx, done: Vec::new(), changed: false };
    // One thing that fails (a quota, a policy) must not keep the other slots from being drained or mended.
    let mut failures = Vec::new();
    let mut undone = BTreeSet::new();
    failures.extend(writer.budget(&observed).await.err());
    let prepared = writer.prepare(&observed).await;
    let can_start = prepared.is_ok();
    failures.extend(prepared.err());
    for step in &plan.steps {
        let starts_a_node = matches!(step, Step::Create { .. } | Step::Replace { .. });
        if starts_a_node && !can_start {
            undone.insert(step.slot());
        } else if let Err(error) = writer.step(step, &observed).await {
            failures.push(error);
            undone.insert(step.slot());
        }
    }
    failures.extend(writer.old_configurations(&observed).await.err());
    let Writer { mut done, changed, .. } = writer;
    done.extend(plan.choices.into_iter().filter(|choice| choice.slot.is_none_or(|slot| !undone.contains(&slot))));
    if let Some(error) = failures.into_iter().next() {
        return Err(Incomplete { done, error });
    }
    Ok(Applied {
        scale,
        rollout: plan.rollout,
        max_unavailable: region.fleet.max_unavailable,
        missing: secrets::missing(region, &observed),
        tls: region.listeners.certificate().map(str::to_owned).zip(observed.tls),
        slots: observed.slots,
        machines: observed.machines,
        revision: objects.revision.clone(),
        limits: objects.limits_hash.clone(),
        selector: super::build::selector(&region.identity),
        not_in_effect: region.not_in_effect.clone(),
        waiting: plan.waiting,
        done,
        again: changed || plan.partial,
    })
}

struct Writer<'a> {
    region: &'a ManagedRegion,
    objects: &'a Objects,
    ctx: &'a Ctx,
    done: Vec<Choice>,
    changed: bool,
}

impl Writer<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.ctx.client.clone(), &self.region.identity.namespace)
    }

    /// What a node needs to start.
    async fn prepare(&mut self, observed: &Observed) -> Result<(), ApplyError> {
        self.admin_certificate(observed.admin.as_ref()).await?;
        let maps = self.api::<ConfigMap>();
        for desired in [&self.objects.machines, &self.objects.limits, &self.objects.turn] {
            let live = observed.config_maps.iter().find(|map| map.metadata.name == desired.metadata.name);
            let written = kube_io::apply(&maps, desired, live).await?;
            self.put_back(&written, "ConfigMap", &desired.name_any());
        }
        Ok(())
    }

    async fn admin_certificate(&mut self, secret: Option<&Secret>) -> Result<(), ApplyError> {
        let (now, identity) = (self.ctx.clock.now(), &self.region.identity);
        let kept = admin_port::keep(admin_meta(identity), &admin_server_name(identity), secret, self.ctx).await?;
        let Some((due, _)) = kept else { return Ok(()) };
        self.changed = true;
        self.done.push(Choice {
            kind: "certify",
            reason: due.reason(),
            slot: None,
            message: "the certificate of the admin ports is made".into(),
            inputs: json!({"now": now, "validity": admin_port::VALIDITY.to_string()}),
        });
        Ok(())
    }

    async fn budget(&mut self, observed: &Observed) -> Result<(), ApplyError> {
        let budgets = self.api::<PodDisruptionBudget>();
        let written = kube_io::apply(&budgets, &self.objects.budget, observed.budget.as_ref()).await?;
        self.put_back(&written, "PodDisruptionBudget", &self.objects.budget.name_any());
        Ok(())
    }

    async fn step(&mut self, step: &Step, observed: &Observed) -> Result<(), ApplyError> {
        let seen = observed.slots.iter().find(|slot| slot.index == step.slot());
        let live = observed.deployments.get(&step.slot());
        let deployments = self.api::<Deployment>();
        match *step {
            Step::Create { slot } | Step::Hold { slot } | Step::Replace { slot } => {
                let desired = self.objects.deployment(self.region, slot);
                let written = kube_io::apply(&deployments, &desired, live).await?;
                self.changed |= written.is_change();
                if matches!(step, Step::Hold { .. }) {
                    self.put_back(&written, "Deployment", &desired.name_any());
                }
            }
            Step::Mark { intent, .. } => {
                if let Some(live) = live {
                    self.mark(&deployments, live, intent).await?;
                }
            }
            Step::Tell { ref state, .. } => {
                if let Some(slot) = seen {
                    self.tell(slot, state.clone()).await;
                }
            }
            Step::Delete { .. } => {
                if let Some(live) = live {
                    kube_io::delete(&deployments, live).await?;
                    self.changed = true;
                }
            }
        }
        Ok(())
    }

    /// A merge of one annotation: an apply of the whole Deployment would bring the new template along.
    async fn mark(
        &mut self,
        deployments: &Api<Deployment>,
        live: &Deployment,
        intent: Option<Intent>,
    ) -> Result<(), ApplyError> {
        let patch = json!({"metadata": {"annotations": {INTENT: intent.map(Intent::text)}}});
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let (name, object) = (live.name_any(), ObjectRef::of(live));
        kube_io::call("mark", object, deployments.patch(&name, &params, &Patch::Merge(&patch))).await?;
        self.changed = true;
        Ok(())
    }

    /// A node that cannot be told now is told in the next pass: the intent is written down.
    async fn tell(&mut self, slot: &Slot, state: rtcfleet_node_api::SetState) {
        let Some(target) = target(slot, &self.region.identity) else { return };
        match self.ctx.node_api.set_state(&target, state).await {
            Ok(_) => self.changed = true,
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(name = slot.name, slot = slot.index, error, "a node was not told, and is next time");
            }
        }
    }

    /// Configurations that no slot runs with any more.
    async fn old_configurations(&mut self, observed: &Observed) -> Result<(), ApplyError> {
        let prefix = format!("{}-turn-", self.region.identity.name);
        let current = self.objects.turn.name_any();
        let maps = self.api::<ConfigMap>();
        for map in &observed.config_maps {
            let name = map.name_any();
            let used = observed.deployments.values().any(|deployment| mounts(deployment, &name));
            if name.starts_with(&prefix) && name != current && !used && map.labels().contains_key(labels::TURN_REGION) {
                kube_io::delete(&maps, map).await?;
            }
        }
        Ok(())
    }

    /// Something of ours that existed was not as it should be: somebody changed it, or what it follows changed.
    fn put_back<K>(&mut self, written: &Written<K>, kind: &'static str, name: &str) {
        self.changed |= written.is_change();
        if let Written::Updated { field, .. } = written {
            self.done.push(Choice {
                kind: "restore",
                reason: "Differed",
                slot: None,
                message: format!("{kind} {name} differed and is brought to what it should be: {field}"),
                inputs: json!({"kind": kind, "name": name, "field": field}),
            });
        }
    }
}

fn mounts(deployment: &Deployment, config_map: &str) -> bool {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.config_map.as_ref()).any(|source| source.name == config_map)
}
