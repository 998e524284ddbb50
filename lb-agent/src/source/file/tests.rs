use super::{FileMistake, Manifests, State, run};
use crate::source::object::Ours;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

fn load(path: &Path) -> Result<Manifests, Vec<FileMistake>> {
    super::load(path, &Ours::default())
}

/// A folder that goes when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("corten-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn node(name: &str) -> String {
    format!("kind: Node\nmetadata: {{name: {name}}}\n")
}

fn nodes(manifests: &Manifests) -> Vec<String> {
    let names = manifests.facts.nodes.keys();
    names.map(ToString::to_string).collect()
}

fn known(state: &State) -> Vec<String> {
    let names = state.facts.iter().flat_map(|facts| facts.nodes.keys());
    names.map(ToString::to_string).collect()
}

#[test]
fn all_manifests_of_a_folder_are_one_state() {
    let folder = Folder::new("all");
    folder.write("a.yaml", &node("a"));
    folder.write("b.yml", &node("b"));
    folder.write("c.json", r#"{"kind": "Node", "metadata": {"name": "c"}}"#);
    folder.write("notes.txt", "not a manifest");
    folder.write(".hidden.yaml", "not: [one either");
    fs::create_dir(folder.0.join("folder.yaml")).unwrap();
    assert_eq!(nodes(&load(&folder.0).unwrap()), ["a", "b", "c"]);
    let one = load(&folder.0.join("a.yaml")).unwrap();
    assert_eq!(nodes(&one), ["a"], "a single file will do");
}

#[test]
fn slices_of_one_service_are_found_together_in_the_order_of_their_names() {
    let slice = |name: &str, address: &str| {
        format!(
            "kind: EndpointSlice\nmetadata: {{name: {name}, labels: \
             {{kubernetes.io/service-name: web}}}}\nendpoints: [{{addresses: [{address}]}}]\n"
        )
    };
    let folder = Folder::new("slices");
    folder.write("1.yaml", &slice("web-z", "10.1.1.2"));
    folder.write("2.yaml", &slice("web-a", "10.1.1.3"));
    let facts = load(&folder.0).unwrap().facts;
    let slices = facts.slices.values().next().unwrap();
    let addresses = slices
        .iter()
        .map(|slice| slice.endpoints[0].address.to_string());
    assert_eq!(addresses.collect::<Vec<_>>(), ["10.1.1.3", "10.1.1.2"]);
}

#[test]
fn mistakes_name_file_line_and_reason() {
    let folder = Folder::new("mistakes");
    folder.write("a.yaml", &node("a"));
    folder.write("b.yaml", &format!("{}---\nkind: Node\n", node("a")));
    folder.write("c.yaml", "kind: [\n");
    let mistakes = load(&folder.0).unwrap_err();
    let mut texts: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    texts.sort();
    assert!(texts[0].contains("b.yaml:4: "), "{texts:#?}");
    assert!(texts[1].contains("c.yaml:1: "), "{texts:#?}");
    folder.write("b.yaml", &node("a"));
    fs::remove_file(folder.0.join("c.yaml")).unwrap();
    let twice = load(&folder.0).unwrap_err()[0].to_string();
    assert!(twice.contains("b.yaml:1: Node a is in ") && twice.ends_with("a.yaml:1 too"));
    let nowhere = load(Path::new("/nowhere")).unwrap_err();
    assert!(nowhere[0].to_string().starts_with("/nowhere: "));
}

async fn until(states: &mut watch::Receiver<State>, what: impl Fn(&State) -> bool) -> State {
    let state = tokio::time::timeout(Duration::from_secs(20), states.wait_for(|s| what(s)));
    state.await.expect("it comes").expect("it runs").clone()
}

#[tokio::test]
async fn changes_are_seen_and_a_broken_file_keeps_the_last_good_state() {
    let folder = Folder::new("watch");
    folder.write("a.yaml", &node("a"));
    let (sender, mut states) = watch::channel(State::default());
    let task = tokio::spawn(run(folder.0.clone(), Ours::default(), sender));

    let first = until(&mut states, |state| known(state) == ["a"]).await;
    folder.write("b.yaml", &node("b"));
    let second = until(&mut states, |state| known(state) == ["a", "b"]).await;
    let object = |state: &State| {
        let facts = state.facts.as_ref().unwrap();
        facts.nodes.values().next().cloned().unwrap()
    };
    assert!(
        Arc::ptr_eq(&object(&first), &object(&second)),
        "a is the same"
    );

    folder.write("b.yaml", "kind: {");
    let broken = until(&mut states, |state| !state.mistakes.is_empty()).await;
    let facts = |state: &State| state.facts.clone().unwrap();
    assert!(Arc::ptr_eq(&facts(&broken), &facts(&second)));
    fs::remove_file(folder.0.join("b.yaml")).unwrap();
    let last = until(&mut states, |state| state.mistakes.is_empty()).await;
    assert_eq!(last, first);

    drop(states);
    task.await.unwrap();
}

fn pool(name: &str, addresses: &str) -> String {
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: {name}}}\n\
         spec:\n  addresses:\n  - {addresses}\n"
    )
}

fn refused(manifests: &Manifests) -> Vec<String> {
    let refused = manifests.refused.iter().map(|it| {
        let name = it.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}:{}: {}", it.line.unwrap_or(0), it.refused)
    });
    refused.collect()
}

#[test]
fn files_that_contradict_each_other_are_told_with_file_line_and_field() {
    let folder = Folder::new("overlap");
    folder.write("a.yaml", &pool("a", "192.0.2.0/24"));
    folder.write(
        "b.yaml",
        &format!("{}---\n{}", node("b"), pool("b", "192.0.2.9/32")),
    );
    let all = load(&folder.0).unwrap();
    let expected = "b.yaml:9: IPAddressPool b: spec.addresses[0]: \"192.0.2.9/32\" overlaps with \
                    already defined \"192.0.2.0/24\" of pool \"a\"";
    assert_eq!(refused(&all), [expected]);
    assert_eq!(*all.facts.config.refused, [all.refused[0].refused.clone()]);
    assert_eq!(nodes(&all), ["b"], "the rest is read");
}

#[test]
fn a_wrong_configuration_keeps_the_last_good_one_and_nothing_else() {
    let path = Folder::new("kept");
    let mut folder = super::Folder::new(&path.0, Ours::default());
    path.write("pool.yaml", &pool("a", "192.0.2.0/24"));
    let good = folder.load().unwrap().facts.config;
    path.write(
        "pool.yaml",
        &pool("a", "192.0.2.0/24 # a comment\n  colour: red"),
    );
    path.write("node.yaml", &node("a"));
    let stale = folder.load().unwrap();
    let expected = "pool.yaml:7: IPAddressPool a: spec.colour: there is no such field";
    assert_eq!(refused(&stale), [expected]);
    assert_eq!(nodes(&stale), ["a"]);
    let kept = &stale.facts.config.good;
    assert!(Arc::ptr_eq(
        kept.as_ref().unwrap(),
        good.good.as_ref().unwrap()
    ));
    path.write("pool.yaml", &pool("a", "192.0.2.0/25"));
    let new = folder.load().unwrap().facts.config;
    assert!(new.refused.is_empty() && new.good != good.good);
}

#[test]
fn one_object_in_two_files_is_a_mistake() {
    let folder = Folder::new("twice");
    folder.write("a.yaml", &pool("a", "192.0.2.0/25"));
    folder.write("b.yaml", &pool("a", "192.0.2.128/25"));
    let mistakes = load(&folder.0).unwrap_err();
    let said = mistakes[0].to_string();
    assert!(said.contains("IPAddressPool default/a is in"), "{said}");
}

const PEER: &str = "apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: router, namespace: metallb-system}
spec: {myASN: 1, peerASN: 2, peerAddress: 10.0.0.1, passwordSecret: {name: bgp}}
";

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: bgp, namespace: metallb-system}
type: kubernetes.io/basic-auth
data: {password: aHVudGVyMg==}
";

#[test]
fn passwords_come_from_secrets_of_the_same_namespace() {
    let folder = Folder::new("secret");
    folder.write("peer.yaml", PEER);
    let missing = load(&folder.0).unwrap();
    let said = refused(&missing);
    assert!(
        said[0].starts_with("peer.yaml:4: BGPPeer router: spec.passwordSecret: "),
        "{said:?}"
    );
    folder.write(
        "secret.yaml",
        &SECRET.replace("metallb-system", "elsewhere"),
    );
    assert_eq!(refused(&load(&folder.0).unwrap()), said);
    folder.write("secret.yaml", SECRET);
    let config = load(&folder.0).unwrap().facts.config.good.unwrap();
    let password = config.peers["router"].password.as_ref();
    assert_eq!(password.unwrap().reveal(), "hunter2");
}
