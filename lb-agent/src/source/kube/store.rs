//! What the API server has said, kept small, and turned into facts.
//!
//! Pure: changes go in, and facts come out. An object is kept as what the core
//! makes of it, never as it came. A list that is under way changes what it
//! names at once, and takes away what it has not named when it is complete; so
//! a server that is away, or forgets what it was asked, takes nothing away.
//!
//! Before services, slices and nodes have all been listed once there are no
//! facts: an empty store is no empty cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_core::config::declared::Declared;
use lb_core::model::{Facts, Labels, Node, NodeName, Origin, Service, ServiceName, Slice};
use lb_core::shared::SharedMap;

use super::kind::{Body, Kind, NamespaceBody, Object};
use crate::source::object::config::Part;
use crate::source::object::service::{labels, service};
use crate::source::object::shape::{NodeBody, ServiceBody, SliceBody};
use crate::source::object::{Ignored, Ours, SliceName, convert};
use crate::source::{Handle, State, Watch};

#[cfg(test)]
mod tests;

/// Without these nothing is known.
const ESSENTIAL: [Kind; 3] = [Kind::Services, Kind::EndpointSlices, Kind::Nodes];

/// What a follower has to say.
#[derive(Debug)]
pub(super) enum Change {
    /// A list is under way.
    Begun(Kind),
    /// It is complete, and is no older than this epoch.
    Listed(Kind, u64),
    /// The watch stands.
    Watching(Kind),
    /// The server does not know this kind.
    Absent(Kind),
    Failed(Kind, String),
    Put(Item),
    Gone(Key),
    /// A Secret that was asked for; none: there is none.
    Secret(String, Option<Part>),
}

/// An object, as far as it could be read.
#[derive(Debug)]
pub(super) enum Item {
    Service(Box<SeenService>),
    Slice(SliceName, Read<Slice>),
    Node(NodeName, Result<Node, String>),
    Namespace(Arc<str>, Labels),
    Config(Kind, Arc<str>, Part),
}

#[derive(Debug)]
pub(super) struct SeenService {
    name: ServiceName,
    read: Read<Service>,
    handle: Handle,
}

/// An object, one that is not for us, or what is wrong with it.
pub(super) type Read<T> = Result<Result<T, Ignored>, String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Service(ServiceName),
    Slice(SliceName),
    Node(NodeName),
    Namespace(Arc<str>),
    Config(Kind, Arc<str>),
}

impl Key {
    fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Services,
            Self::Slice(_) => Kind::EndpointSlices,
            Self::Node(_) => Kind::Nodes,
            Self::Namespace(_) => Kind::Namespaces,
            Self::Config(kind, _) => *kind,
        }
    }
}

/// An object of the API that the store keeps.
pub(super) trait Entry: Sized {
    fn key(&self) -> Key;
    fn item(self, ours: &Ours) -> Item;
}

impl Change {
    pub(super) fn put(object: impl Entry, ours: &Ours) -> Self {
        Self::Put(object.item(ours))
    }

    pub(super) fn gone(object: &impl Entry) -> Self {
        Self::Gone(object.key())
    }
}

impl<B: Body> Object<B> {
    pub(super) fn full_name(&self) -> ServiceName {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        ServiceName::new(namespace, name)
    }
}

impl Entry for Object<ServiceBody> {
    fn key(&self) -> Key {
        Key::Service(self.full_name())
    }

    fn item(self, ours: &Ours) -> Item {
        let name = self.full_name();
        let handle = Handle::of(&self.metadata, &self.body);
        let read = service(&self.metadata, self.body, ours);
        Item::Service(Box::new(SeenService { name, read, handle }))
    }
}

impl Entry for Object<SliceBody> {
    fn key(&self) -> Key {
        Key::Slice(self.full_name())
    }

    fn item(self, _: &Ours) -> Item {
        let name = self.full_name();
        let read = convert::slice(&self.metadata, self.body);
        Item::Slice(name, read.map(|read| read.map(|(_, slice)| slice)))
    }
}

impl Entry for Object<NodeBody> {
    fn key(&self) -> Key {
        Key::Node(NodeName::new(&self.full_name().name))
    }

    fn item(self, _: &Ours) -> Item {
        let name = NodeName::new(&self.full_name().name);
        Item::Node(name, convert::node(&self.metadata, self.body))
    }
}

impl Entry for Object<NamespaceBody> {
    fn key(&self) -> Key {
        Key::Namespace(self.full_name().name)
    }

    fn item(self, _: &Ours) -> Item {
        Item::Namespace(self.full_name().name, labels(&self.metadata))
    }
}

impl Item {
    fn key(&self) -> Key {
        match self {
            Self::Service(seen) => Key::Service(seen.name.clone()),
            Self::Slice(name, _) => Key::Slice(name.clone()),
            Self::Node(name, _) => Key::Node(name.clone()),
            Self::Namespace(name, _) => Key::Namespace(name.clone()),
            Self::Config(kind, name, _) => Key::Config(*kind, name.clone()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Store {
    facts: Facts,
    handles: BTreeMap<ServiceName, Arc<Handle>>,
    /// Of each service, by name: the facts have them together.
    slices: BTreeMap<ServiceName, BTreeMap<Arc<str>, Slice>>,
    /// The service of each slice.
    services_of: BTreeMap<SliceName, ServiceName>,
    /// Services whose slices have changed since the facts were last asked for.
    touched: BTreeSet<ServiceName>,
    /// Of a list that is under way: what it has named.
    named: BTreeMap<Kind, BTreeSet<Key>>,
    /// What is wrong with objects; their last good state stays.
    mistakes: BTreeMap<Key, String>,
    watches: BTreeMap<Kind, Watch>,
    /// As of which epoch services are known.
    epoch: Option<u64>,
    /// What objects of the configuration declare.
    config: BTreeMap<(Kind, Arc<str>), Part>,
    /// Those that were asked for and answered.
    secrets: BTreeMap<String, Option<Part>>,
    /// Since it was read last, with the nodes' labels.
    config_changed: bool,
    /// Since they were handed out last.
    facts_changed: bool,
    handles_changed: bool,
    /// As handed out last.
    last: State,
}

impl Store {
    pub(super) fn new() -> Self {
        let watches = Kind::ALL.map(|kind| (kind, Watch::new(kind.name())));
        Self {
            facts: Facts {
                origin: Origin::Cluster,
                ..Facts::default()
            },
            handles: BTreeMap::new(),
            slices: BTreeMap::new(),
            services_of: BTreeMap::new(),
            touched: BTreeSet::new(),
            named: BTreeMap::new(),
            mistakes: BTreeMap::new(),
            watches: watches.into(),
            epoch: None,
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            config_changed: true,
            facts_changed: false,
            handles_changed: false,
            last: State::default(),
        }
    }

    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Begun(kind) => {
                self.named.insert(kind, BTreeSet::new());
            }
            Change::Listed(kind, epoch) => self.listed(kind, epoch),
            Change::Watching(kind) => {
                let watch = self.watch(kind);
                watch.failure = None;
                watch.absent = false;
            }
            Change::Failed(kind, reason) => self.watch(kind).failure = Some(reason),
            Change::Absent(kind) => self.absent(kind),
            Change::Put(item) => self.put(item),
            Change::Gone(key) => self.remove(&key),
            Change::Secret(name, part) => {
                let before = self.secrets.insert(name, part.clone());
                self.config_changed |= before != Some(part);
            }
        }
    }

    /// The Secrets that are to be asked for.
    pub(super) fn wanted_secrets(&self) -> BTreeSet<String> {
        let declared = self.declared();
        let names = declared.peers.iter().map(|peer| &peer.spec.password_secret);
        names.filter(|name| !name.is_empty()).cloned().collect()
    }

    /// A kind of MetalLB's may be missing; the others never are.
    fn absent(&mut self, kind: Kind) {
        let watch = self.watch(kind);
        watch.absent = true;
        watch.failure = None;
        if !Kind::METAL.contains(&kind) {
            watch.failure = Some("the API server does not know them".to_owned());
        }
    }

    fn declared(&self) -> Declared {
        let mut declared = Declared::default();
        let secrets = self.secrets.values().flatten();
        for part in self.config.values().chain(secrets) {
            part.add_to(&mut declared);
        }
        declared
    }

    /// Reads the configuration anew, once all of it is known. Where there are
    /// neither MetalLB's kinds nor its ConfigMap, nobody has configured
    /// anything, which is not the same as having no pools.
    fn configure(&mut self) {
        let listed = |kind: &Kind| self.watches.get(kind).is_some_and(|watch| watch.listed);
        let absent = |kind: &Kind| self.watches.get(kind).is_some_and(|watch| watch.absent);
        let all = Kind::METAL.iter().all(|kind| listed(kind) || absent(kind));
        let any = Kind::METAL.iter().any(listed) || !self.config.is_empty();
        let wanted = self.wanted_secrets();
        self.secrets.retain(|name, _| wanted.contains(name));
        let secrets = wanted.iter().all(|name| self.secrets.contains_key(name));
        if !(self.config_changed && all && any && listed(&Kind::ConfigMaps) && secrets) {
            return;
        }
        let labels: Vec<_> = self.facts.nodes.values().map(|node| &node.labels).collect();
        let kept = self.facts.config.with(&self.declared(), &labels);
        self.facts_changed |= kept != self.facts.config;
        self.facts.config = kept;
        self.config_changed = false;
    }

    /// What is known now. What has not changed is the same object as before.
    pub(super) fn state(&mut self) -> State {
        let complete = ESSENTIAL.iter().all(|kind| self.watches[kind].listed);
        if complete {
            self.gather();
            self.configure();
            if self.facts_changed || self.last.facts.is_none() {
                self.last.facts = Some(Arc::new(self.facts.clone()));
                self.facts_changed = false;
            }
            if self.handles_changed {
                self.last.handles = Arc::new(self.handles.clone());
                self.handles_changed = false;
            }
            self.last.epoch = self.epoch;
        }
        self.last.watches = self.watches.values().cloned().collect();
        self.last.mistakes = self.complaints();
        self.last.clone()
    }

    fn watch(&mut self, kind: Kind) -> &mut Watch {
        let watch = self.watches.entry(kind);
        watch.or_insert_with(|| Watch::new(kind.name()))
    }

    fn listed(&mut self, kind: Kind, epoch: u64) {
        let named = self.named.remove(&kind).unwrap_or_default();
        for key in self.keys(kind) {
            if !named.contains(&key) {
                self.remove(&key);
            }
        }
        if kind == Kind::Services {
            self.epoch = Some(epoch);
        }
        self.config_changed = true;
        let watch = self.watch(kind);
        watch.listed = true;
        watch.absent = false;
        watch.failure = None;
    }

    /// All that is known of this kind, mistakes included.
    fn keys(&self, kind: Kind) -> BTreeSet<Key> {
        let mut keys: BTreeSet<Key> = match kind {
            Kind::Services => self.handles.keys().cloned().map(Key::Service).collect(),
            Kind::EndpointSlices => self.services_of.keys().cloned().map(Key::Slice).collect(),
            Kind::Nodes => self.facts.nodes.keys().cloned().map(Key::Node).collect(),
            Kind::Namespaces => self
                .facts
                .namespaces
                .keys()
                .cloned()
                .map(Key::Namespace)
                .collect(),
            other => {
                let ours = self.config.keys().filter(|(kind, _)| *kind == other);
                let keys = ours.map(|(kind, name)| Key::Config(*kind, name.clone()));
                keys.collect()
            }
        };
        let wrong = self.mistakes.keys().filter(|key| key.kind() == kind);
        keys.extend(wrong.cloned());
        keys
    }

    fn put(&mut self, item: Item) {
        let key = item.key();
        if let Some(named) = self.named.get_mut(&key.kind()) {
            named.insert(key.clone());
        }
        let wrong = match item {
            Item::Service(seen) => self.put_service(*seen),
            Item::Slice(name, read) => self.put_slice(name, read),
            Item::Node(name, read) => read.map(|node| {
                let changed = put(&mut self.facts.nodes, name, node);
                self.facts_changed |= changed;
                self.config_changed |= changed;
            }),
            Item::Namespace(name, labels) => {
                self.facts_changed |= put(&mut self.facts.namespaces, name, labels);
                Ok(())
            }
            Item::Config(kind, name, part) => {
                let before = self.config.insert((kind, name), part.clone());
                self.config_changed |= before != Some(part);
                Ok(())
            }
        };
        match wrong {
            Ok(()) => self.mistakes.remove(&key),
            Err(reason) => self.mistakes.insert(key, reason),
        };
    }

    fn put_service(&mut self, seen: SeenService) -> Result<(), String> {
        let SeenService { name, read, handle } = seen;
        self.handles_changed |= put(&mut self.handles, name.clone(), handle);
        match read? {
            Ok(service) => {
                self.facts_changed |= self.facts.released.remove(&name).is_some();
                self.facts_changed |= self.facts.foreign.remove(&name).is_some();
                self.facts_changed |= put_shared(&mut self.facts.services, name, service);
            }
            Err(Ignored::Released { addresses, .. }) => {
                self.facts_changed |= self.facts.services.remove(&name).is_some();
                self.facts_changed |= self.facts.foreign.remove(&name).is_some();
                self.facts_changed |= put(&mut self.facts.released, name, addresses);
            }
            Err(ignored) => {
                tracing::trace!("{ignored}");
                self.facts_changed |= self.facts.services.remove(&name).is_some();
                self.facts_changed |= self.facts.released.remove(&name).is_some();
                self.facts_changed |= match ignored.foreign() {
                    Some((_, addresses)) => put(&mut self.facts.foreign, name, addresses.to_vec()),
                    None => self.facts.foreign.remove(&name).is_some(),
                };
            }
        }
        Ok(())
    }

    fn forget_service(&mut self, name: &ServiceName) {
        self.facts_changed |= self.facts.services.remove(name).is_some();
        self.facts_changed |= self.facts.released.remove(name).is_some();
        self.facts_changed |= self.facts.foreign.remove(name).is_some();
    }

    fn put_slice(&mut self, name: SliceName, read: Read<Slice>) -> Result<(), String> {
        let read = read?;
        self.remove_slice(&name);
        if let Ok(slice) = read {
            let service = slice.service.clone();
            let of_service = self.slices.entry(service.clone()).or_default();
            of_service.insert(name.name.clone(), slice);
            self.touched.insert(service.clone());
            self.services_of.insert(name, service);
        }
        Ok(())
    }

    fn remove_slice(&mut self, name: &SliceName) {
        let Some(service) = self.services_of.remove(name) else {
            return;
        };
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(&name.name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        self.touched.insert(service);
    }

    fn remove(&mut self, key: &Key) {
        self.mistakes.remove(key);
        match key {
            Key::Service(name) => {
                self.handles_changed |= self.handles.remove(name).is_some();
                self.forget_service(name);
            }
            Key::Slice(name) => self.remove_slice(name),
            Key::Node(name) => {
                self.facts_changed |= self.facts.nodes.remove(name).is_some();
            }
            Key::Namespace(name) => {
                self.facts_changed |= self.facts.namespaces.remove(name).is_some();
            }
            Key::Config(kind, name) => {
                let key = (*kind, name.clone());
                self.config_changed |= self.config.remove(&key).is_some();
            }
        }
    }

    /// Puts the slices of services that were touched together again.
    fn gather(&mut self) {
        for service in std::mem::take(&mut self.touched) {
            self.facts_changed |= match self.slices.get(&service) {
                Some(slices) => {
                    let slices = slices.values().cloned().collect();
                    put_shared(&mut self.facts.slices, service, slices)
                }
                None => self.facts.slices.remove(&service).is_some(),
            };
        }
    }

    /// What is wrong, as sentences. Watches that fail alike are named together.
    fn complaints(&self) -> Vec<String> {
        let mut failures: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for watch in self.watches.values() {
            if let Some(failure) = &watch.failure {
                failures.entry(failure).or_default().push(&watch.kind);
            }
        }
        let failures = failures
            .into_iter()
            .map(|(failure, kinds)| format!("cannot watch {}: {failure}", kinds.join(", ")));
        failures.chain(self.mistakes.values().cloned()).collect()
    }
}

/// Keeps the old one if it is equal: that nothing has changed is then seen
/// from the pointer. True if it is another one.
fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, Arc<V>>, key: K, value: V) -> bool {
    let same = map.get(&key).is_some_and(|old| **old == value);
    if !same {
        map.insert(key, Arc::new(value));
    }
    !same
}

/// The same for maps whose copies share what is not changed.
fn put_shared<K: Ord + Clone, V: PartialEq>(
    map: &mut SharedMap<K, Arc<V>>,
    key: K,
    value: V,
) -> bool {
    let same = map.get(&key).is_some_and(|old| **old == value);
    if !same {
        map.insert(key, Arc::new(value));
    }
    !same
}
