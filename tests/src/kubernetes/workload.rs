//! What tests run on a cluster: pods with the lab's server, one on every node,
//! and Services in front of them.

use crate::lab::{ECHO_PORT, ECHO_UDP_PORT, NGINX_PORT};

use super::POD_IMAGE;

/// A DaemonSet `echo`, whose pods answer by their names on the lab's ports.
#[must_use]
pub fn echo_pods() -> String {
    format!(
        r#"apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: echo
  labels: {{ app: echo }}
spec:
  selector:
    matchLabels: {{ app: echo }}
  template:
    metadata:
      labels: {{ app: echo }}
    spec:
      tolerations: [{{ operator: Exists }}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: {POD_IMAGE}
        args: [--port={NGINX_PORT}, --port={ECHO_PORT}, --udp-port={ECHO_UDP_PORT}, --udp-port={ECHO_PORT}]
        readinessProbe:
          tcpSocket: {{ port: {NGINX_PORT} }}
          periodSeconds: 1
"#
    )
}

/// A dual-stack Service of type LoadBalancer in front of them, TCP and UDP,
/// with further lines for its `spec`.
#[must_use]
pub fn echo_service(name: &str, spec: &str) -> String {
    let mut text = format!(
        r#"apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  selector: {{ app: echo }}
  ports:
  - {{ name: http, port: {NGINX_PORT}, protocol: TCP }}
  - {{ name: echo, port: {ECHO_UDP_PORT}, protocol: UDP }}
"#
    );
    for line in spec.lines() {
        text += &format!("  {line}\n");
    }
    text
}
