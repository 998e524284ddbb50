//! Objects, and what is said of them.

/// Kind (with its version), spec, and what the API server says of it; nothing
/// if it is good.
pub(crate) type Case = (&'static str, &'static str, &'static str);

const POOL: &str = "v1beta1 IPAddressPool";
const L2: &str = "v1beta1 L2Advertisement";
const BGP: &str = "v1beta1 BGPAdvertisement";
const COMMUNITY: &str = "v1beta1 Community";
const BFD: &str = "v1beta1 BFDProfile";
const PEER: &str = "v1beta2 BGPPeer";
const OLD_PEER: &str = "v1beta1 BGPPeer";

pub(crate) const GOOD: &[Case] = &[
    (
        POOL,
        "{addresses: [192.0.2.77/24, '203.0.113.1 - 203.0.113.9', 2001:db8::/64]}",
        "",
    ),
    (
        POOL,
        "{addresses: [143.92.123.123-143.92.123.123], autoAssign: true}",
        "",
    ),
    (
        POOL,
        "{addresses: [2001:db8::9-2001:db8::a], avoidBuggyIPs: true}",
        "",
    ),
    (
        POOL,
        "{addresses: [192.0.2.0/24], serviceAllocation: {priority: 50, namespaces: [a, b], \
         namespaceSelectors: [{matchLabels: {a: b}}], serviceSelectors: [{matchExpressions: \
         [{key: app, operator: In, values: [web]}, {key: x, operator: DoesNotExist}]}]}}",
        "",
    ),
    (L2, "", ""),
    (L2, "{}", ""),
    (
        L2,
        "{ipAddressPools: [a, b], interfaces: [eth0], nodeSelectors: [{}]}",
        "",
    ),
    (
        L2,
        "{preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {a: b}}}]}",
        "",
    ),
    (BGP, "", ""),
    (
        BGP,
        "{aggregationLength: 24, aggregationLengthV6: 64, localPref: 4294967295, peers: [a], \
         communities: ['65535:65281', 'large:64512:1:4294967295', no-export]}",
        "",
    ),
    (BGP, "{serviceSelectors: [{matchLabels: {a: b}}]}", ""),
    (
        COMMUNITY,
        "{communities: [{name: no-export, value: '65535:65281'}]}",
        "",
    ),
    (BFD, "", ""),
    (
        BFD,
        "{receiveInterval: 10, detectMultiplier: 255, echoMode: true, minimumTtl: 254}",
        "",
    ),
    (
        PEER,
        "{myASN: 4294967295, peerASN: 4200000000, peerAddress: 192.0.2.1}",
        "",
    ),
    (
        PEER,
        "{myASN: 64512, dynamicASN: external, interface: eth0, holdTime: 1m30s, \
         keepaliveTime: 30s, connectTime: 10s, routerID: 192.0.2.9, enableGracefulRestart: true, \
         vrf: red, passwordSecret: {name: bgp}, dualStackAddressFamily: true, bfdProfile: fast}",
        "",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: '2001:db8::1', holdTime: 0s, password: x}",
        "",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, peerPort: 0}",
        "",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, nodeSelectors: [{matchExpressions: \
         [{key: a, operator: In, values: [b]}]}]}",
        "",
    ),
];

pub(crate) const WRONG_LISTS: &[Case] = &[
    (POOL, "", "spec: Required value"),
    (
        POOL,
        "{addresses: []}",
        "spec.addresses: Invalid value: 0: spec.addresses in body should have at least 1 items",
    ),
    (
        POOL,
        "{addresses: [192.0.2.1]}",
        "spec.addresses[0]: Invalid value: \"192.0.2.1\": invalid CIDR or IP range",
    ),
    (
        POOL,
        "{addresses: [192.0.2.0/24, 192.0.2.0/33]}",
        "spec.addresses[1]: Invalid value: \"192.0.2.0/33\": invalid CIDR or IP range",
    ),
    (
        POOL,
        "{addresses: [192.0.2.1-192.0.2.256]}",
        "spec.addresses[0]: Invalid value: \"192.0.2.1-192.0.2.256\": invalid CIDR or IP range",
    ),
    (
        POOL,
        "{addresses: [1.2.3.4-2001:db8::1]}",
        "start and end are of different families",
    ),
    (
        POOL,
        "{addresses: [192.0.2.9-192.0.2.8]}",
        "invalid IP range: the start is after the end",
    ),
    (
        POOL,
        "{addresses: [192.0.2.0/24], serviceAllocation: {namespaces: [a, a]}}",
        "spec.serviceAllocation.namespaces: Invalid value: duplicate definition in namespaces",
    ),
    (
        POOL,
        "{addresses: [192.0.2.0/24], serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: a, operator: In}]}]}}",
        "In and NotIn need values",
    ),
    (
        L2,
        "{ipAddressPools: [a, a]}",
        "duplicate definition in ipAddressPools",
    ),
    (
        L2,
        "{nodeSelectors: [{matchExpressions: [{key: a, operator: Equals}]}]}",
        "Unsupported value: \"Equals\"",
    ),
    (
        L2,
        "{nodeSelectors: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]}",
        "Exists and DoesNotExist take none",
    ),
    (
        L2,
        "{preferredNodeSelectors: [{weight: 101, preference: {}}]}",
        "should be less than or equal to 100",
    ),
    (
        BGP,
        "{aggregationLength: 33}",
        "spec.aggregationLength: Invalid value: 33",
    ),
    (
        BGP,
        "{aggregationLength: 0}",
        "spec.aggregationLength: Invalid value: 0",
    ),
    (
        BGP,
        "{aggregationLengthV6: 129}",
        "spec.aggregationLengthV6: Invalid value: 129",
    ),
    (
        BGP,
        "{aggregationLength: 24, serviceSelectors: [{}]}",
        "serviceSelectors and aggregationLength are mutually exclusive, can only be used together with default aggregationLength (32) and aggregationLengthV6 (128)",
    ),
    (
        BGP,
        "{communities: ['65536:1']}",
        "spec.communities[0]: Invalid value: \"65536:1\": invalid community value",
    ),
    (
        BGP,
        "{communities: ['large:1:2']}",
        "invalid community value",
    ),
    (
        BGP,
        "{communities: ['1:2', '1:2']}",
        "duplicate definition in communities",
    ),
    (BGP, "{peers: [a, a]}", "duplicate definition in peers"),
    (
        BGP,
        "{localPref: 4294967296}",
        "spec.localPref: Invalid value: 4294967296",
    ),
    (
        COMMUNITY,
        "{communities: [{name: a, value: b}]}",
        "spec.communities[0].value: Invalid value: \"b\": invalid community value",
    ),
    (
        COMMUNITY,
        "{communities: [{name: a, value: 'large:1:2:4294967296'}]}",
        "invalid community value",
    ),
    (
        BFD,
        "{receiveInterval: 9}",
        "spec.receiveInterval: Invalid value: 9",
    ),
    (
        BFD,
        "{transmitInterval: 60001}",
        "spec.transmitInterval: Invalid value: 60001",
    ),
    (
        BFD,
        "{echoInterval: 0}",
        "spec.echoInterval: Invalid value: 0",
    ),
    (
        BFD,
        "{detectMultiplier: 1}",
        "spec.detectMultiplier: Invalid value: 1",
    ),
    (
        BFD,
        "{minimumTtl: 255}",
        "spec.minimumTtl: Invalid value: 255",
    ),
];

pub(crate) const WRONG_PEERS: &[Case] = &[
    (
        PEER,
        "{peerASN: 2, peerAddress: 192.0.2.1}",
        "spec.myASN: Required value",
    ),
    (
        PEER,
        "{myASN: 0, peerASN: 2, peerAddress: 192.0.2.1}",
        "missing local ASN",
    ),
    (
        PEER,
        "{myASN: 4294967296, peerASN: 2, peerAddress: 192.0.2.1}",
        "spec.myASN: Invalid value: 4294967296",
    ),
    (
        PEER,
        "{myASN: 1, peerAddress: 192.0.2.1}",
        "missing peer ASN and dynamicASN",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, dynamicASN: external, peerAddress: 192.0.2.1}",
        "both peer ASN and dynamicASN specified",
    ),
    (
        PEER,
        "{myASN: 1, dynamicASN: auto, peerAddress: 192.0.2.1}",
        "Unsupported value: \"auto\"",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 1, ebgpMultiHop: true, peerAddress: 192.0.2.1}",
        "invalid ebgp-multihop parameter set for an ibgp peer",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2}",
        "peer has no Address or Interface specified",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, interface: eth0}",
        "peer has both Address and Interface specified",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: router}",
        "invalid BGPPeer address",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, sourceAddress: x}",
        "invalid source IP",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, routerID: '7'}",
        "invalid router ID",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, peerPort: 0}",
        "spec.peerPort: Invalid value: 0",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, peerPort: 16385}",
        "spec.peerPort: Invalid value: 16385",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, localASN: 0}",
        "spec.localASN: Invalid value: 0",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 2s}",
        "invalid hold time: must be 0 or >=3s",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: '90'}",
        "spec.holdTime: Invalid value: \"90\"",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 9s, keepaliveTime: 10s}",
        "invalid keepaliveTime, must be lower than holdTime",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, connectTime: 0s}",
        "connect time should be between 1 seconds to 65535",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, connectTime: 1500ms}",
        "connect time should contain a whole number of seconds",
    ),
    (
        PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, password: x, passwordSecret: {name: bgp}}",
        "can not have both password and secret ref set in peer config",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 0, peerAddress: 192.0.2.1}",
        "missing peer ASN and dynamicASN",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2}",
        "spec.peerAddress: Required value",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2, peerAddress: ''}",
        "peer has no Address or Interface specified",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 1s}",
        "invalid hold time: must be 0 or >=3s",
    ),
    (
        OLD_PEER,
        "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, nodeSelectors: [{matchExpressions: [{key: a, operator: In, values: []}]}]}",
        "should have at least 1 items",
    ),
];
