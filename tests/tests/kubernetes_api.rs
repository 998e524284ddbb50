//! The API server that other tests stand on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lb_tests::kubernetes::ApiServer;
use lb_tests::kubernetes::readme::Desk;
use lb_tests::{require, wait};

const LIMIT: Duration = Duration::from_secs(30);

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: nginx
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector:
    app: nginx
  ports:
  - port: 80
";

const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata:
  name: reader
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reader
rules:
- apiGroups: ['']
  resources: [services]
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reader
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: reader
subjects:
- kind: ServiceAccount
  name: reader
";

#[test]
fn an_api_server_holds_services_and_obeys_rbac() {
    if !require::wanted("kubernetes") {
        return;
    }
    let mut server = ApiServer::start().expect("it starts");
    server.kubectl().apply(SERVICE).expect("applied");
    let service = server.kubectl().json(&["get", "service", "nginx"]);
    let service = service.expect("it is there");
    let addresses = service["spec"]["clusterIPs"].as_array().expect("a list");
    assert_eq!(addresses.len(), 2, "one of each family: {service}");

    server.kubectl().apply(READER).expect("applied");
    let kubeconfig = server.service_account("default", "reader");
    let reader = server
        .kubectl()
        .with_kubeconfig(&kubeconfig.expect("a token"));
    reader.run(&["get", "service", "nginx"]).expect("allowed");
    let refused = reader.run(&["get", "services"]).expect_err("not allowed");
    assert!(format!("{refused}").contains("forbidden"), "{refused}");

    server.kill().expect("killed");
    reader.run(&["get", "service", "nginx"]).expect_err("gone");
    server.resume().expect("started again");
    reader.run(&["get", "service", "nginx"]).expect("and kept");
}

#[test]
fn an_overlay_is_applied_twice_the_first_time() {
    if !require::wanted("kubernetes") {
        return;
    }
    let desk = Desk::new(&[]).expect("laid out");
    for overlay in ["l2", "bgp"] {
        let server = ApiServer::start().expect("it starts");
        let apply = format!("kubectl apply --server-side --kustomize manifests/overlays/{overlay}");
        let first = desk.run(server.kubectl(), &apply);
        let error = format!("{:#}", first.expect_err("there are no definitions yet"));
        assert!(error.contains("ensure CRDs are installed first"), "{error}");
        assert!(!error.contains("ServiceAccount"), "all else is: {error}");
        wait::until_ok(LIMIT, "the second time, all is applied", || {
            desk.run(server.kubectl(), &apply)
        })
        .expect("applied");
        let pool = ["get", "ipaddresspool", "default", "-n", "metallb-system"];
        server.kubectl().run(&pool).expect("it is there");
    }
}

#[test]
fn nothing_of_it_is_left_behind() {
    if !require::wanted("kubernetes") {
        return;
    }
    let server = ApiServer::start().expect("it starts");
    let folder = server.folder().to_owned();
    assert!(!processes_with(&folder).is_empty(), "its programs run");
    drop(server);
    assert!(!folder.exists(), "{} is left", folder.display());
    assert_eq!(processes_with(&folder), Vec::<u32>::new());
}

/// The processes that have this folder in their command line.
fn processes_with(folder: &Path) -> Vec<u32> {
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("there is a /proc") {
        let entry = entry.expect("readable");
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // A process may end while one looks.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&*folder) {
            found.push(pid);
        }
    }
    found
}
