use super::{Mistake, Objects};
use crate::source::object::{Ignored, Ours};
use std::sync::Arc;

use lb_core::ipam::{assign, served};
use lb_core::model::{
    Conditions, Delivery, Facts, Family, FamilyPolicy, Origin, Protocol, Service, TrafficPolicy,
};

fn parse(text: &str) -> Result<Objects, Vec<Mistake>> {
    super::parse(text, &Ours::default())
}

fn objects(text: &str) -> Objects {
    parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn service(text: &str) -> Service {
    let objects = objects(text);
    assert_eq!(objects.services.len(), 1, "{objects:#?}");
    (*objects.services[0].value).clone()
}

fn ignored(text: &str) -> String {
    let objects = objects(text);
    assert_eq!(objects.services.len() + objects.slices.len(), 0);
    objects.ignored[0].value.to_string()
}

/// The first mistake is in the line that contains `at`.
#[track_caller]
fn check_mistake(text: &str, at: &str, reason: &str) {
    let mistakes = parse(text).expect_err("a mistake");
    let Mistake { line, reason: said } = &mistakes[0];
    assert!(said.contains(reason), "{said}");
    let (before, _) = text.split_once(at).expect("it is there");
    let expected = before.matches('\n').count() + 1;
    assert_eq!(*line, u64::try_from(expected).ok(), "{said}");
}

const WEB: &str = "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  creationTimestamp: 2026-11-21T12:00:17Z
  annotations:
    corten.dev/delivery: direct
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.7
  selector: {app: web}
  ports:
  - name: http
    port: 80
    targetPort: http
    nodePort: 30080
  - name: dns
    port: 53
    protocol: UDP
status:
  loadBalancer:
    ingress:
    - ip: 203.0.113.80
      ipMode: VIP
    - ip: 2001:db8::80
";

#[test]
fn a_service_is_read() {
    let web = service(WEB);
    assert_eq!(web.name.to_string(), "shop/web");
    let vips: Vec<_> = web.status.iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["203.0.113.80", "2001:db8::80"]);
    assert_eq!(web.delivery, Delivery::Direct);
    assert_eq!(web.created_s, Some(1_795_262_417));
    let ports = web
        .ports
        .iter()
        .map(|p| (p.name.as_str(), p.port, p.protocol));
    let expected = [("http", 80, Protocol::Tcp), ("dns", 53, Protocol::Udp)];
    assert_eq!(ports.collect::<Vec<_>>(), expected);
}

fn with_addresses(annotations: &str, field: &str) -> Vec<String> {
    let text = format!(
        "
kind: Service
metadata:
  name: web
  annotations: {{{annotations}}}
spec:
  type: LoadBalancer
  loadBalancerIP: {field}
"
    );
    let service = service(&text);
    let mut facts = Facts::default();
    let name = service.name.clone();
    facts.services.insert(name, Arc::new(service.clone()));
    served(Origin::Files, &service, &assign(&facts))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_address_that_is_not_assigned_yet_is_the_one_that_was_asked_for() {
    let new = "metallb.io/loadBalancerIPs: \"203.0.113.80, 2001:db8::80\"";
    let old = "metallb.universe.tf/loadBalancerIPs: 203.0.113.81";
    let both = ["203.0.113.80", "2001:db8::80"];
    assert_eq!(with_addresses(new, "null"), both);
    assert_eq!(with_addresses(old, ""), ["203.0.113.81"]);
    assert_eq!(with_addresses(&format!("{old}, {new}"), "\"\""), both);
    assert_eq!(with_addresses("", "203.0.113.82"), ["203.0.113.82"]);
    assert!(with_addresses(new, "203.0.113.82").is_empty(), "which one?");
    assert!(with_addresses("", "null").is_empty());
}

#[test]
fn what_a_service_says_about_its_addresses_is_read() {
    let text = "
kind: Service
metadata:
  name: web
  labels: {app: web, bare: null}
  deletionTimestamp: 2026-11-21T12:00:17Z
  annotations:
    metallb.io/address-pool: new
    metallb.universe.tf/address-pool: old
    metallb.universe.tf/allow-shared-ip: key
    metallb.io/ip-allocated-from-pool: first
    metallb.universe.tf/ip-allocated-from-pool: last
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, 2001:db8:9::7]
  ipFamilies: [IPv6, IPv4]
  ipFamilyPolicy: PreferDualStack
  externalTrafficPolicy: Local
  selector: {tier: front, app: web}
";
    let web = service(text);
    assert_eq!(web.traffic_policy, TrafficPolicy::Local);
    assert_eq!(web.labels["app"], "web");
    let request = web.request;
    assert_eq!(request.cluster_ips.len(), 2);
    assert_eq!(request.families, [Family::V6, Family::V4]);
    assert_eq!(request.family_policy, FamilyPolicy::PreferDualStack);
    assert_eq!(request.selector, "app=web,tier=front");
    assert_eq!(request.pool.as_deref(), Some("new"));
    assert_eq!(request.sharing_key.as_deref(), Some("key"));
    assert_eq!(request.allocated_from.as_deref(), Some("first"));
    let deprecated = ["address-pool", "allow-shared-ip", "ip-allocated-from-pool"];
    let deprecated = deprecated.map(|name| format!("metallb.universe.tf/{name}"));
    assert_eq!(request.deprecated, deprecated);
    assert!(request.deleting);
}

#[test]
fn one_cluster_ip_is_enough_and_none_is_none() {
    let cluster_ips = |text: &str| {
        let spec = format!("{{type: LoadBalancer, {text}}}");
        let web = service(&format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {spec}"
        ));
        let ips = web.request.cluster_ips.iter();
        ips.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(cluster_ips("clusterIP: 10.96.0.7"), ["10.96.0.7"]);
    assert_eq!(
        cluster_ips("clusterIPs: [], clusterIP: 10.96.0.7"),
        ["10.96.0.7"]
    );
    assert!(cluster_ips("clusterIP: None, clusterIPs: [None]").is_empty());
    assert!(cluster_ips("clusterIP: \"\"").is_empty());
}

#[test]
fn a_class_is_served_by_the_agent_that_is_told_so() {
    let text = |class: &str| {
        let spec = format!("{{type: LoadBalancer, loadBalancerClass: {class}}}");
        format!("kind: Service\nmetadata: {{name: web}}\nspec: {spec}")
    };
    let ours = Ours {
        class: Some("example.com/ours".to_owned()),
    };
    let read = |class: &str| super::parse(&text(class), &ours).unwrap();
    assert_eq!(read("example.com/ours").services.len(), 1);
    let other = read("example.com/other").ignored[0].value.to_string();
    assert!(
        other.ends_with("the load balancer class example.com/other"),
        "{other}"
    );
    let none = read("null").ignored[0].value.to_string();
    assert_eq!(none, "Service default/web names no load balancer class");
}

#[test]
fn a_service_that_is_no_load_balancer_any_more_gives_its_addresses_back() {
    let annotated = WEB
        .replace("type: LoadBalancer", "type: ClusterIP")
        .replace(
            "annotations:",
            "annotations:\n    metallb.io/ip-allocated-from-pool: pool",
        );
    let objects = objects(&annotated);
    let Ignored::Released { service, addresses } = &objects.ignored[0].value else {
        panic!("{:?}", objects.ignored);
    };
    assert_eq!(
        (service.to_string().as_str(), addresses.len()),
        ("shop/web", 2)
    );
}

#[test]
fn services_of_others_are_left_alone() {
    let spec = |text: &str| {
        ignored(&format!(
            "kind: Service\nmetadata: {{name: web}}\nspec: {{{text}}}\n"
        ))
    };
    assert_eq!(
        spec(""),
        "Service default/web is of type ClusterIP, not LoadBalancer"
    );
    let class = spec("type: LoadBalancer, loadBalancerClass: example.com/other");
    assert!(class.ends_with("the load balancer class example.com/other"));
    let label = "{service.kubernetes.io/service-proxy-name: mesh}";
    let proxy = format!(
        "kind: Service\nmetadata: {{name: web, labels: {label}}}\nspec: {{type: LoadBalancer}}"
    );
    assert!(ignored(&proxy).ends_with("the service proxy mesh"));
}

/// As `kubectl get -o yaml` prints it: sorted, so the kind comes late.
const SLICE: &str = "
addressType: IPv4
apiVersion: discovery.k8s.io/v1
endpoints:
- addresses: [10.1.1.2, 10.1.1.3]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: node1
  targetRef: {kind: Pod, name: web-1}
- addresses: [10.1.2.2]
  conditions: {ready: false, serving: true, terminating: true}
- addresses: [10.1.2.3]
kind: EndpointSlice
metadata:
  name: web-abc
  namespace: shop
  labels:
    kubernetes.io/service-name: web
ports:
- name: http
  port: 8080
- name: all
  port: null
";

#[test]
fn a_slice_is_read_wherever_its_kind_stands() {
    let mut lines: Vec<_> = SLICE.lines().collect();
    lines.retain(|line| *line != "kind: EndpointSlice");
    let first = format!("kind: EndpointSlice{}", lines.join("\n"));
    for text in [SLICE, &first] {
        let objects = objects(text);
        let (name, slice) = &objects.slices[0].value;
        assert_eq!(name.to_string(), "shop/web-abc");
        assert_eq!(slice.service.to_string(), "shop/web");
        let addresses: Vec<_> = slice
            .endpoints
            .iter()
            .map(|e| e.address.to_string())
            .collect();
        assert_eq!(addresses, ["10.1.1.2", "10.1.2.2", "10.1.2.3"], "one each");
        assert!(slice.endpoints[1].conditions.is_draining());
        assert_eq!(slice.endpoints[2].conditions, Conditions::READY);
        assert_eq!(slice.endpoints[2].node, None);
        assert_eq!(slice.ports.len(), 1);
        assert_eq!(slice.ports[0].port, 8080);
    }
}

#[test]
fn slices_that_lead_nowhere_are_named() {
    let unlabelled = SLICE.replace("kubernetes.io/service-name", "app");
    assert!(ignored(&unlabelled).contains("has no label"));
    let names = SLICE
        .replace("IPv4", "FQDN")
        .replace("10.1.2.3", "web.example.com");
    assert!(ignored(&names).contains("host names"));
}

#[test]
fn a_node_is_read() {
    let objects = objects(
        "
apiVersion: v1
kind: Node
metadata:
  name: node1
  labels:
    node.kubernetes.io/exclude-from-external-load-balancers: \"\"
spec:
  podCIDR: 10.1.1.0/24
  podCIDRs: [10.1.1.0/24, 2001:db8:1::/64]
  providerID: none
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.11}
  - {type: Hostname, address: node1}
  - {type: ExternalIP, address: 2001:db8::11}
  conditions:
  - {type: Ready, status: \"True\"}
  - {type: NetworkUnavailable, status: \"True\"}
",
    );
    let node = &objects.nodes[0].value;
    let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.11", "2001:db8::11"]);
    assert_eq!(node.pod_cidrs.len(), 2);
    assert!(node.excluded && node.network_unavailable);
}

#[test]
fn the_labels_of_a_namespace_are_read() {
    let text = "kind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\n\
                apiVersion: v1\nkind: Namespace\nmetadata: {name: bare}\n";
    let objects = objects(text);
    let namespaces = objects.namespaces.iter().map(|namespace| &namespace.value);
    let namespaces: Vec<_> = namespaces.map(|(name, l)| (&**name, l.len())).collect();
    assert_eq!(namespaces, [("shop", 1), ("bare", 0)]);
    check_mistake("kind: Namespace\nmetadata: {}\n", "kind", "without a name");
}

#[test]
fn several_documents_and_lists_are_read_in_order() {
    let list = "---\nkind: List\nitems:\n- kind: Node\n  metadata: {name: a}\n\
                - kind: Node\n  metadata: {name: b}\n---\n---\nkind: Node\nmetadata: {name: c}\n";
    let names = |objects: &Objects| {
        let nodes = objects.nodes.iter();
        nodes
            .map(|node| (node.value.name.to_string(), node.line))
            .collect::<Vec<_>>()
    };
    let read = objects(list);
    let expected = [("a".into(), 4), ("b".into(), 6), ("c".into(), 10)];
    assert_eq!(names(&read), expected);
    let json = r#"{"apiVersion": "v1", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}], "kind": "List"}"#;
    assert_eq!(objects(json).nodes.len(), 1);
    assert!(
        objects("kind: ServiceList\nitems: []\n")
            .unknown_kinds
            .is_empty()
    );
}

#[test]
fn other_kinds_are_named_once_whatever_they_contain() {
    let text = "
kind: Deployment
apiVersion: apps/v1
spec: {ports: not a list, type: [1]}
---
apiVersion: apps/v1
kind: Deployment
spec: {replicas: 3}
---
spec: {traffic: []}
kind: Service
apiVersion: serving.knative.dev/v1
---
kind: ConfigMap
endpoints: {of: another kind}
";
    let kinds: Vec<_> = objects(text).unknown_kinds.into_iter().collect();
    let expected = [
        "ConfigMap",
        "Deployment (apps/v1)",
        "Service (serving.knative.dev/v1)",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn mistakes_have_a_line_and_a_reason() {
    check_mistake("kind: Service\nmetadata: []\n", "metadata", "mapping");
    check_mistake("kind: Node\nmetadata: {name: a\n", "metadata", "unclosed");
    check_mistake("just a text\n", "just", "just a text");
    let web = |old: &str, new: &str| WEB.replace(old, new);
    for (old, new) in [
        ("port: 53", "port: seventy"),
        ("port: 53", "port: 70000"),
        ("203.0.113.80", "203.0.113.800"),
        ("protocol: UDP", "protocol: udp"),
    ] {
        check_mistake(&web(old, new), new, new);
    }
}

#[test]
fn mistakes_that_the_parser_cannot_see_have_the_line_of_their_object() {
    let web = |old: &str, new: &str| WEB.replace(old, new);
    check_mistake(&web("port: 53", "port: 0"), "apiVersion", "port 0");
    check_mistake(&web("direct", "fast"), "apiVersion", "stack or direct");
    check_mistake("kind: Node\nmetadata: {}\n", "kind", "name");
    check_mistake("metadata: {name: web}\n", "metadata", "no kind");
    check_mistake(
        &web("clusterIP: 10.96.0.7", "clusterIP: here"),
        "apiVersion",
        "\"here\" of Service shop/web",
    );
    let slice = SLICE.replace("10.1.2.3", "web-1");
    check_mistake(&slice, "addressType", "\"web-1\"");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = "kind: Node\nmetadata: {}\n---\nkind: Node\nmetadata: 7\n---\nkind: Node\n";
    let mistakes = parse(text).expect_err("three");
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [Some(1), Some(5), Some(7)]);
}
