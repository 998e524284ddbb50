use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

fn object<T: DeserializeOwned>(json: &serde_json::Value) -> T {
    serde_json::from_str(&json.to_string()).expect("it is read")
}

fn service(name: &str, ip: &str) -> Change {
    let json = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "default", "uid": "u", "resourceVersion": "7",
            "managedFields": [{"manager": "somebody", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.0.0.1"},
        "status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}},
    });
    Change::put(object::<Object<ServiceBody>>(&json), &Ours::default())
}

fn slice(name: &str, service: &str, address: &str) -> Change {
    let json = json!({
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "nodeName": "node1"}],
        "ports": [{"port": 8080}],
    });
    Change::put(object::<Object<SliceBody>>(&json), &Ours::default())
}

fn node(name: &str, address: &str) -> Change {
    let json = json!({
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    });
    Change::put(object::<Object<NodeBody>>(&json), &Ours::default())
}

fn gone(name: &str) -> Change {
    Change::Gone(Key::Service(ServiceName::new("default", name)))
}

/// With everything listed once: a service, its slice and a node.
fn store() -> Store {
    let mut store = Store::new();
    for change in [
        Change::Begun(Kind::Services),
        service("web", "192.0.2.1"),
        Change::Listed(Kind::Services, 1),
        Change::Begun(Kind::Nodes),
        node("node1", "198.51.100.1"),
        Change::Listed(Kind::Nodes, 0),
        Change::Begun(Kind::EndpointSlices),
        slice("web-1", "web", "10.1.0.1"),
        Change::Listed(Kind::EndpointSlices, 0),
    ] {
        store.take(change);
    }
    store
}

fn facts(store: &mut Store) -> Arc<Facts> {
    store.state().facts.expect("everything was listed")
}

fn services(store: &mut Store) -> Vec<String> {
    let facts = facts(store);
    facts.services.keys().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_known_before_all_that_matters_was_listed_once() {
    let mut store = Store::new();
    store.take(Change::Begun(Kind::Services));
    store.take(service("web", "192.0.2.1"));
    store.take(Change::Listed(Kind::Services, 1));
    store.take(Change::Begun(Kind::Nodes));
    store.take(Change::Listed(Kind::Nodes, 0));
    store.take(slice("web-1", "web", "10.1.0.1"));
    assert_eq!(store.state().facts, None, "slices are not listed");
    assert_eq!(store.state().epoch, None);
    store.take(Change::Begun(Kind::EndpointSlices));
    store.take(Change::Listed(Kind::EndpointSlices, 0));
    let state = store.state();
    assert_eq!(state.epoch, Some(1));
    let facts = state.facts.expect("all are listed");
    assert_eq!(facts.origin, Origin::Cluster);
    assert_eq!(facts.services.len(), 1);
    assert!(facts.slices.is_empty(), "the list did not name it");
    let handle = state.handles.values().next().expect("one");
    assert_eq!((handle.version.as_str(), handle.uid.as_str()), ("7", "u"));
    assert_eq!(handle.ingress[0].mode.as_deref(), Some("VIP"));
}

#[test]
fn a_list_takes_away_what_it_does_not_name_but_only_when_it_is_complete() {
    let mut store = store();
    store.take(service("old", "192.0.2.2"));
    assert_eq!(services(&mut store), ["default/old", "default/web"]);
    store.take(Change::Begun(Kind::Services));
    store.take(service("new", "192.0.2.3"));
    store.take(Change::Failed(
        Kind::Services,
        "connection refused".to_owned(),
    ));
    assert_eq!(
        services(&mut store),
        ["default/new", "default/old", "default/web"]
    );
    store.take(Change::Begun(Kind::Services));
    store.take(service("web", "192.0.2.1"));
    store.take(Change::Listed(Kind::Services, 2));
    assert_eq!(services(&mut store), ["default/web"]);
    let state = store.state();
    assert_eq!(state.epoch, Some(2));
    assert_eq!(state.handles.len(), 1);
}

#[test]
fn what_stays_the_same_is_the_same_object() {
    let mut store = store();
    let first = facts(&mut store);
    for change in [
        Change::Begun(Kind::Services),
        service("web", "192.0.2.1"),
        Change::Listed(Kind::Services, 2),
        slice("web-1", "web", "10.1.0.1"),
        node("node1", "198.51.100.1"),
    ] {
        store.take(change);
    }
    assert!(
        Arc::ptr_eq(&first, &facts(&mut store)),
        "nothing has changed"
    );
    store.take(slice("other-1", "other", "10.1.0.2"));
    let second = facts(&mut store);
    let web = ServiceName::new("default", "web");
    assert!(Arc::ptr_eq(&first.slices[&web], &second.slices[&web]));
    assert!(Arc::ptr_eq(&first.services[&web], &second.services[&web]));
    assert_eq!(second.slices.len(), 2);
}

#[test]
fn a_slice_may_come_to_belong_to_another_service() {
    let mut store = store();
    store.take(slice("web-1", "other", "10.1.0.1"));
    let facts = facts(&mut store);
    let names: Vec<_> = facts.slices.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/other"]);
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_last_good_state_until_it_goes() {
    let mut store = store();
    let broken = json!({
        "metadata": {
            "name": "web", "namespace": "default",
            "annotations": {"corten.dev/delivery": "by post"},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 81}]},
    });
    let broken = || Change::put(object::<Object<ServiceBody>>(&broken), &Ours::default());
    let before = facts(&mut store);
    store.take(broken());
    let state = store.state();
    assert_eq!(state.facts, Some(before));
    assert!(
        state.mistakes[0].contains("by post"),
        "{:?}",
        state.mistakes
    );
    store.take(gone("web"));
    assert!(services(&mut store).is_empty());
    assert!(store.state().mistakes.is_empty());
}

#[test]
fn a_service_that_changes_its_type_is_released() {
    let mut store = store();
    let changed = json!({
        "metadata": {
            "name": "web", "namespace": "default",
            "annotations": {"metallb.io/ip-allocated-from-pool": "main"},
        },
        "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
        "status": {"loadBalancer": null},
    });
    let changed: Object<ServiceBody> = object(&changed);
    store.take(Change::put(changed, &Ours::default()));
    let state = store.state();
    let facts = state.facts.expect("known");
    assert!(facts.services.is_empty());
    assert_eq!(facts.released.len(), 1);
    let handle = state.handles.values().next().expect("still there");
    assert_eq!(handle.pool.as_deref(), Some("main"));
}

#[test]
fn watches_that_fail_alike_are_named_together_and_forgotten_when_they_stand() {
    let mut store = store();
    for kind in [Kind::Services, Kind::Nodes] {
        store.take(Change::Failed(kind, "connection refused".to_owned()));
    }
    let forbidden = "namespaces is forbidden".to_owned();
    store.take(Change::Failed(Kind::Namespaces, forbidden));
    let state = store.state();
    assert_eq!(
        state.mistakes,
        [
            "cannot watch services, nodes: connection refused",
            "cannot watch namespaces: namespaces is forbidden",
        ]
    );
    assert!(state.facts.is_some(), "the last good ones stay");
    store.take(Change::Watching(Kind::Services));
    store.take(Change::Watching(Kind::Nodes));
    assert_eq!(store.state().mistakes.len(), 1);
}
