//! What a node serves for Prometheus, over HTTP and of real tables: lines as
//! the format has them, with the names and numbers of the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::command::output;
use lb_tests::lab::{Lab, Node, Spec};
use lb_tests::load::{Target, spread};
use lb_tests::{require, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const ADDRESS: &str = "127.0.0.1:6948";
/// Of the lab's first Service.
const VIP: &str = "192.0.2.80";

/// Name and labels of a series, as they stand in a line, and its value.
#[derive(Debug, Default)]
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// By the rules of the text format 0.0.4; a series that stands there twice
    /// is an error, and so is one outside its family.
    fn read(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n'), "the last line ends");
        let mut families = BTreeSet::new();
        let mut family: Option<(&str, &str)> = None;
        let mut help = None;
        let mut series = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').context("HELP has a text")?;
                ensure!(families.insert(name) && !text.is_empty(), "{line}");
                help = Some(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context("TYPE has a kind")?;
                ensure!(help == Some(name), "HELP goes before: {line}");
                let total = name.ends_with("_total");
                ensure!(total == (kind == "counter"), "{line}");
                ensure!(["counter", "gauge"].contains(&kind), "{line}");
                family = Some((name, kind));
            } else {
                let (key, value) = line.rsplit_once(' ').context("a value")?;
                let value: f64 = value.parse().with_context(|| line.to_owned())?;
                ensure!(value.is_finite() && value >= 0.0, "{line}");
                let name = key.split('{').next().unwrap_or_default();
                ensure!(family.is_some_and(|(of, _)| of == name), "{line}");
                labels(key.strip_prefix(name).unwrap_or_default())
                    .with_context(|| line.to_owned())?;
                ensure!(
                    series.insert(key.to_owned(), value).is_none(),
                    "twice: {line}"
                );
            }
        }
        Ok(Self(series))
    }

    fn get(&self, key: &str) -> Result<f64> {
        let found = self.0.get(key).copied();
        found.with_context(|| format!("no {key}: {:#?}", self.0.keys()))
    }

    /// The values of a label in the series of a family.
    fn label(&self, family: &str, label: &str) -> BTreeSet<String> {
        let of = |key: &&String| key.split('{').next() == Some(family);
        let start = format!("{label}=\"");
        let series = self.0.keys().filter(of);
        let values = series.filter_map(|key| key.split(&start).nth(1)?.split('"').next());
        values.map(str::to_owned).collect()
    }
}

/// `{name="text",…}`, or nothing.
fn labels(text: &str) -> Result<()> {
    let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
        ensure!(text.is_empty(), "no labels: {text}");
        return Ok(());
    };
    let mut rest = inner;
    loop {
        let (name, value) = rest.split_once("=\"").context("a label has a value")?;
        let first = name.chars().next().context("a label has a name")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(!first.is_ascii_digit() && name.chars().all(fits), "{name}");
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let after = &value[end.context("a value ends")? + 1..];
        if after.is_empty() {
            return Ok(());
        }
        rest = after.strip_prefix(',').context("a comma between labels")?;
    }
}

/// The answer's code and text.
fn ask(node: Node<'_>, path: &str) -> Result<(String, String)> {
    let mut curl = node.namespace().command("curl");
    let url = format!("http://{ADDRESS}{path}");
    curl.args([
        "--silent",
        "--max-time",
        "10",
        "--write-out",
        "%{http_code}",
        &url,
    ]);
    let text = output(&mut curl)?;
    let at = text.len().checked_sub(3).context("a code")?;
    let (text, code) = text.split_at(at);
    Ok((code.to_owned(), text.to_owned()))
}

fn metrics(node: Node<'_>) -> Result<Metrics> {
    let (code, text) = ask(node, "/metrics")?;
    ensure!(code == "200", "{code}: {text}");
    Metrics::read(&text)
}

fn names(rows: &Value) -> BTreeSet<String> {
    let rows = rows.as_array().into_iter().flatten();
    rows.filter_map(|row| Some(row["name"].as_str()?.to_owned()))
        .collect()
}

/// Names and numbers are those of the command line.
fn check_node(node: Node<'_>) -> Result<f64> {
    let before = metrics(node)?;
    let counters = node.ask(&["counters", "--all"])?;
    let after = metrics(node)?;
    ensure!(
        before.label("corten_packets_total", "reason") == names(&counters["reasons"]),
        "the same reasons"
    );
    for row in counters["reasons"].as_array().context("a list")? {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let key = format!(
            "corten_packets_total{{reason=\"{}\",verdict=\"{}\",direction=\"{}\"}}",
            text("name"),
            text("verdict"),
            text("direction")
        );
        let packets = row["packets"].as_f64().context("a number")?;
        let (least, most) = (before.get(&key)?, after.get(&key)?);
        ensure!(
            (least..=most).contains(&packets),
            "{key}: {least}, {packets}, {most}"
        );
    }
    let maps = names(&node.ask(&["maps"])?["maps"]);
    let measured = after.label("corten_map_entries", "map");
    ensure!(
        !measured.is_empty() && measured.is_subset(&maps),
        "{measured:?}"
    );
    ensure!(after.get("corten_ready")? == 1.0, "ready");
    let vip = format!(
        "{{namespace=\"default\",service=\"nginx\",vip=\"{VIP}\",port=\"80\",protocol=\"tcp\"}}"
    );
    ensure!(
        after.get(&format!("corten_frontend_backends{vip}"))? == 3.0,
        "three pods"
    );
    ensure!(
        after.get(&format!("corten_frontend_ready_backends{vip}"))? == 3.0,
        "ready"
    );
    after.get(&format!("corten_frontend_packets_total{vip}"))
}

#[test]
fn what_is_served_for_prometheus_is_what_the_command_line_says() {
    if !require::root("net") {
        return;
    }
    let mut spec = Spec::for_test("prom").expect("programs are built");
    spec.agent_arguments = ["--metrics-addr", ADDRESS].map(str::to_owned).to_vec();
    let lab = Lab::up(spec).expect("the lab comes up");
    let target = Target::tcp((VIP.parse::<IpAddr>().expect("an address"), 80));
    let spread = spread(&lab.client(), target, 100).expect("traffic runs");
    assert_eq!((spread.lost, spread.by_pod.len()), (0, 3), "{spread:?}");
    let mut came_first = 0.0;
    for node in lab.nodes() {
        for path in ["/healthz", "/readyz"] {
            let answer = ask(node, path).expect("it answers");
            assert_eq!(answer, ("200".to_owned(), "ok\n".to_owned()), "{path}");
        }
        came_first += check_node(node).unwrap_or_else(|e| panic!("{}: {e:#}", node.name()));
    }
    // A handshake, a question and its end each.
    assert!(came_first >= 300.0, "{came_first} packets came for the VIP");

    // The next one is ready when the tables hold what they should, no sooner.
    let node = lab.node(1);
    node.stop_agent().expect("it ends");
    let gone = ask(node, "/readyz");
    assert!(gone.is_err(), "nobody answers: {gone:?}");
    node.start_agent().expect("it starts");
    wait::until_ok(LIMIT, "it is ready", || {
        let (code, text) = ask(node, "/readyz")?;
        if code == "200" {
            return Ok(());
        }
        ensure!(code == "503" && text.len() > 10, "{code}: {text}");
        bail!("it says why not: {text}")
    })
    .expect("ready");
    let metrics = metrics(node).expect("they are served");
    assert_eq!(metrics.get("corten_ready").expect("there"), 1.0);
    lab.down().expect("the lab goes down");
}

#[test]
fn lines_that_prometheus_would_refuse_are_found() {
    let head = "# HELP a A.\n# TYPE a gauge\n";
    Metrics::read(&format!("{head}a 1\na{{b=\"c\\\"}}\",d=\"\"}} 2\n")).expect("good");
    for wrong in [
        "a 1",
        "a 1\na 1\n",
        "b 1\n",
        "a one\n",
        "a{b} 1\n",
        "a{b=\"c} 1\n",
        "a{1=\"c\"} 1\n",
        "a{b=\"c\"d=\"e\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\n",
        "# HELP b_total B.\n# TYPE b_total gauge\n",
        "# TYPE b gauge\nb 1\n",
    ] {
        assert!(Metrics::read(&format!("{head}{wrong}")).is_err(), "{wrong}");
    }
}
