//! What is watched, and how little of it is read.
//!
//! The API server sends whole objects; only the fields that matter leave the
//! parser, so that a large cluster costs little memory. Objects are asked for
//! by the same names that [`kube::Resource`] has for its own types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::source::object::shape::{Metadata, NodeBody, ServiceBody, SliceBody};

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Services,
    EndpointSlices,
    Nodes,
    Namespaces,
    Pools,
    L2Advertisements,
    BgpAdvertisements,
    BgpPeers,
    Communities,
    BfdProfiles,
    ConfigMaps,
    Secrets,
}

impl Kind {
    /// Those that are watched in any case.
    pub(super) const ALL: [Self; 11] = [
        Self::Services,
        Self::EndpointSlices,
        Self::Nodes,
        Self::Namespaces,
        Self::Pools,
        Self::L2Advertisements,
        Self::BgpAdvertisements,
        Self::BgpPeers,
        Self::Communities,
        Self::BfdProfiles,
        Self::ConfigMaps,
    ];

    /// MetalLB's own, which come with its definitions.
    pub(super) const METAL: [Self; 6] = [
        Self::Pools,
        Self::L2Advertisements,
        Self::BgpAdvertisements,
        Self::BgpPeers,
        Self::Communities,
        Self::BfdProfiles,
    ];

    /// As in the URL, and in RBAC rules.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::Pools => "ipaddresspools",
            Self::L2Advertisements => "l2advertisements",
            Self::BgpAdvertisements => "bgpadvertisements",
            Self::BgpPeers => "bgppeers",
            Self::Communities => "communities",
            Self::BfdProfiles => "bfdprofiles",
            Self::ConfigMaps => "configmaps",
            Self::Secrets => "secrets",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The part of a kind's objects that is its own.
pub(super) trait Body: Clone + fmt::Debug + Default + Send + 'static {
    type Scope;
    const GROUP: &'static str;
    const VERSION: &'static str;
    const KIND: &'static str;
    const PLURAL: &'static str;

    /// Takes the value of a field, or leaves it: then it returns false.
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// The value of a field; null is "nothing said".
pub(super) fn value<'de, T: Deserialize<'de> + Default, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

impl Body for ServiceBody {
    type Scope = NamespaceResourceScope;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Service";
    const PLURAL: &'static str = "services";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "spec" => self.spec = value(map)?,
            "status" => self.status = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Body for SliceBody {
    type Scope = NamespaceResourceScope;
    const GROUP: &'static str = "discovery.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "EndpointSlice";
    const PLURAL: &'static str = "endpointslices";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "addressType" => self.address_type = map.next_value()?,
            "endpoints" => self.endpoints = value(map)?,
            "ports" => self.ports = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Body for NodeBody {
    type Scope = ClusterResourceScope;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "spec" => self.spec = value(map)?,
            "status" => self.status = value(map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Of Namespaces only the labels matter.
#[derive(Clone, Debug, Default)]
pub(super) struct NamespaceBody;

impl Body for NamespaceBody {
    type Scope = ClusterResourceScope;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Namespace";
    const PLURAL: &'static str = "namespaces";

    fn field<'de, A: MapAccess<'de>>(&mut self, _: &str, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

/// An object as it comes from the API, for the moment until it is converted.
#[derive(Clone, Debug)]
pub(super) struct Object<B> {
    pub(super) metadata: Metadata,
    pub(super) body: B,
    /// Name and version only, for [`kube::Resource`].
    identity: ObjectMeta,
}

impl<B> Object<B> {
    /// The version of the collection when it was written.
    pub(super) fn version(&self) -> &str {
        self.identity
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }
}

impl<B: Body> Resource for Object<B> {
    type DynamicType = ();
    type Scope = B::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        B::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        B::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        B::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        B::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.identity
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.identity
    }
}

impl<'de, B: Body> Deserialize<'de> for Object<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<B>(PhantomData<B>);

impl<'de, B: Body> Visitor<'de> for Fields<B> {
    type Value = Object<B>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", B::KIND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<B>, A::Error> {
        let mut body = B::default();
        let mut metadata = Metadata::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "metadata" {
                metadata = value(&mut map)?;
            } else if !body.field(&key, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let identity = ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            resource_version: metadata.resource_version.clone(),
            ..ObjectMeta::default()
        };
        Ok(Object {
            metadata,
            body,
            identity,
        })
    }
}
