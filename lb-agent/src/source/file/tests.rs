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
