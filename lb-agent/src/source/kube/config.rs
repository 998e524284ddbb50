//! Objects of the configuration, in their one namespace.
//!
//! There are few of them: they are kept as what they declare, and read whole
//! again whenever one changes. Their kinds may be missing: then they are looked
//! for again. Secrets are asked for one by one, those that peers name.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

use ::kube::{Api, Client};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use lb_core::config;
use serde::de::MapAccess;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::follow::text;
use super::kind::{Body, Kind, Object, value};
use super::store::{Change, Entry, Item, Key};
use crate::source::object::config::{Part, part};
use crate::source::object::shape::Metadata;
use crate::source::object::{Ours, legacy};

/// Secrets are asked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// And again after a failure, or while one is missing.
const RETRY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// A kind of MetalLB's.
pub(super) trait Metal: Clone + std::fmt::Debug + Default + Send + Sync + 'static {
    const OF: config::Kind;
    const WATCHED: Kind;
    const VERSION: &'static str = "v1beta1";
    const NAME: &'static str;
    const PLURAL: &'static str;
}

macro_rules! metal {
    ($name:ident, $of:ident, $watched:ident, $kind:literal, $plural:literal $(, $version:literal)?) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name;

        impl Metal for $name {
            const OF: config::Kind = config::Kind::$of;
            const WATCHED: Kind = Kind::$watched;
            $(const VERSION: &'static str = $version;)?
            const NAME: &'static str = $kind;
            const PLURAL: &'static str = $plural;
        }
    };
}

metal!(
    Pools,
    IpAddressPool,
    Pools,
    "IPAddressPool",
    "ipaddresspools"
);
metal!(
    L2,
    L2Advertisement,
    L2Advertisements,
    "L2Advertisement",
    "l2advertisements"
);
metal!(
    Bgp,
    BgpAdvertisement,
    BgpAdvertisements,
    "BGPAdvertisement",
    "bgpadvertisements"
);
metal!(Peers, BgpPeer, BgpPeers, "BGPPeer", "bgppeers", "v1beta2");
metal!(
    Communities,
    Community,
    Communities,
    "Community",
    "communities"
);
metal!(
    Profiles,
    BfdProfile,
    BfdProfiles,
    "BFDProfile",
    "bfdprofiles"
);

/// An object of one of these kinds: what it declares stands in `spec`.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec<M>(Value, PhantomData<M>);

impl<M: Metal> Body for Spec<M> {
    type Scope = NamespaceResourceScope;
    const GROUP: &'static str = crate::crd::GROUP;
    const VERSION: &'static str = M::VERSION;
    const KIND: &'static str = M::NAME;
    const PLURAL: &'static str = M::PLURAL;

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name != "spec" {
            return Ok(false);
        }
        self.0 = map.next_value()?;
        Ok(true)
    }
}

impl<M: Metal> Entry for Object<Spec<M>> {
    fn key(&self) -> Key {
        Key::Config(M::WATCHED, self.full_name().name)
    }

    fn item(self, _: &Ours) -> Item {
        let name = self.full_name().name;
        let api = format!("{}/{}", crate::crd::GROUP, M::VERSION);
        let part = part(M::OF, &api, &self.metadata, self.body.0);
        Item::Config(M::WATCHED, name, part)
    }
}

/// The ConfigMap that held everything before MetalLB 0.13.
#[derive(Clone, Debug, Default)]
pub(super) struct MapBody(std::collections::BTreeMap<String, Option<String>>);

impl Body for MapBody {
    type Scope = NamespaceResourceScope;
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ConfigMap";
    const PLURAL: &'static str = "configmaps";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name != "data" {
            return Ok(false);
        }
        self.0 = value(map)?;
        Ok(true)
    }
}

impl Entry for Object<MapBody> {
    fn key(&self) -> Key {
        Key::Config(Kind::ConfigMaps, self.full_name().name)
    }

    fn item(mut self, _: &Ours) -> Item {
        let name = self.full_name().name;
        let text = self
            .body
            .0
            .remove(legacy::KEY)
            .flatten()
            .unwrap_or_default();
        let part = legacy::part(&name, &text);
        Item::Config(Kind::ConfigMaps, name, part)
    }
}

/// Asks for the Secrets that are wanted, again and again, until nobody listens.
pub(super) async fn secrets(
    client: Client,
    namespace: String,
    mut wanted: watch::Receiver<BTreeSet<String>>,
    changes: mpsc::Sender<Change>,
) {
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    loop {
        let names = wanted.borrow_and_update().clone();
        let (mut failed, mut missing) = (false, false);
        for name in &names {
            let change = match timeout(ANSWER, secrets.get_opt(name)).await {
                Ok(Ok(secret)) => Change::Secret(name.clone(), secret.map(|it| read(name, &it))),
                Ok(Err(error)) => Change::Failed(Kind::Secrets, text(&error)),
                Err(_late) => Change::Failed(Kind::Secrets, "no answer".to_owned()),
            };
            failed |= matches!(change, Change::Failed(..));
            missing |= matches!(change, Change::Secret(_, None));
            if changes.send(change).await.is_err() {
                return;
            }
        }
        if !names.is_empty()
            && !failed
            && changes.send(Change::Watching(Kind::Secrets)).await.is_err()
        {
            return;
        }
        let again = if failed || missing { RETRY } else { LOOK_EVERY };
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

fn read(name: &str, secret: &Secret) -> Part {
    let metadata = Metadata {
        name: Some(name.to_owned()),
        ..Metadata::default()
    };
    let texts = secret.data.iter().flatten().filter_map(|(key, bytes)| {
        let text = String::from_utf8(bytes.0.clone()).ok()?;
        Some((key.clone(), Some(text)))
    });
    let nothing = std::collections::BTreeMap::new();
    let kind = secret.type_.clone();
    crate::source::object::config::secret(&metadata, kind, &nothing, &texts.collect())
}
