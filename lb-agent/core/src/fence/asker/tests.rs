use super::*;
use alloc::vec;

const OWN_MAC: Mac = [2, 0, 0, 0, 0, 1];
const MAC: Mac = [2, 0, 0, 0, 0, 0xfe];

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An asker of these gateways, all by link 3, with the node's address there.
fn asker(gateways: &[(&str, Option<&str>)], mac: Option<Mac>) -> Asker {
    let mut asker = Asker::new(Timing::NORMAL);
    let ways = gateways.iter().map(|(gateway, own)| {
        let way = Way {
            mac,
            own_mac: OWN_MAC,
            own: own.map(ip),
        };
        ((3, ip(gateway)), way)
    });
    asker.configure(&ways.collect(), at(0));
    asker
}

fn v4(mac: Option<Mac>) -> Asker {
    asker(&[("192.0.2.254", Some("192.0.2.1"))], mac)
}

/// What it asks until then, and when.
fn run(asker: &mut Asker, until_ms: u64) -> Vec<(u128, Question)> {
    let mut asked = Vec::new();
    let mut now = Timestamp::default();
    loop {
        while let Some(question) = asker.poll_output() {
            asked.push((now.since(at(0)).as_millis(), question));
        }
        let Some(next) = asker.deadline().filter(|next| *next <= at(until_ms)) else {
            return asked;
        };
        now = next;
        asker.handle_timeout(now);
    }
}

/// The gateway's answer to a question by ARP.
fn reply(question: &Question) -> Vec<u8> {
    let mut frame = question.frame.clone();
    frame[..6].copy_from_slice(&OWN_MAC);
    frame[6..12].copy_from_slice(&MAC);
    frame[20..22].copy_from_slice(&[0, 2]);
    let (sender, target) = (frame[22..32].to_vec(), frame[32..42].to_vec());
    frame[22..32].copy_from_slice(&target);
    frame[32..42].copy_from_slice(&sender);
    frame
}

#[test]
fn nothing_is_asked_as_long_as_it_does_not_matter() {
    let mut asker = v4(Some(MAC));
    assert_eq!(run(&mut asker, 60_000), []);
    assert_eq!(asker.deadline(), None);
    asker.ask(true, at(60_000));
    assert_eq!(run(&mut asker, 60_200).len(), 3, "every 80 ms");
    asker.ask(false, at(60_210));
    assert_eq!(run(&mut asker, 70_000), []);
}

#[test]
fn the_gateway_is_asked_where_it_was_last_and_everybody_if_that_is_not_known() {
    for (mac, to) in [(Some(MAC), MAC), (None, [0xff; 6])] {
        let mut asker = v4(mac);
        asker.ask(true, at(10));
        let asked = run(&mut asker, 10);
        let Question { link: 3, frame } = &asked[0].1 else {
            panic!("{asked:?}");
        };
        assert_eq!(frame[..6], to);
        assert_eq!(frame[20..22], [0, 1]);
        assert_eq!(frame[28..32], [192, 0, 2, 1]);
        assert_eq!(frame[38..42], [192, 0, 2, 254]);
    }
}

#[test]
fn an_answer_proves_something_of_when_the_question_was_asked() {
    let mut asker = v4(Some(MAC));
    assert_eq!(asker.finding(), Gateway::Silent);
    asker.ask(true, at(100));
    let question = asker.poll_output().unwrap();
    asker.handle_timeout(at(180));
    asker.handle_frame(3, &reply(&question));
    // Two were asked; it may be the first that is answered.
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(100) });
    asker.handle_frame(3, &reply(&question));
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(100) });
    asker.handle_timeout(at(260));
    asker.handle_frame(3, &reply(&question));
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(260) });
}

#[test]
fn what_is_no_answer_of_the_gateway_proves_nothing() {
    let mut asker = v4(Some(MAC));
    asker.ask(true, at(100));
    let question = asker.poll_output().unwrap();
    let answer = reply(&question);
    let mut of_another = answer.clone();
    of_another[31] = 7;
    let mut changed: Vec<(u32, Vec<u8>)> = vec![
        (4, answer.clone()),
        (3, question.frame.clone()),
        (3, of_another),
    ];
    changed.extend((0..answer.len()).map(|length| (3, answer[..length.min(31)].to_vec())));
    for (link, frame) in changed {
        asker.handle_frame(link, &frame);
        assert_eq!(asker.finding(), Gateway::Silent, "{frame:02x?}");
    }
    asker.handle_frame(3, &answer);
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(100) });
}

#[test]
fn ipv6_is_the_same() {
    let mut asker = asker(&[("fe80::1", Some("fe80::2"))], Some(MAC));
    asker.ask(true, at(100));
    let question = asker.poll_output().unwrap();
    assert_eq!(question.frame[..6], MAC);
    assert_eq!(question.frame[54..56], [135, 0]);
    let mut answer = question.frame.clone();
    answer[54] = 136;
    answer[21] = 64;
    asker.handle_frame(3, &answer);
    assert_eq!(asker.finding(), Gateway::Silent, "from beyond a router");
    answer[21] = 255;
    asker.handle_frame(3, &answer);
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(100) });
}

#[test]
fn of_several_gateways_one_that_answers_is_enough() {
    let gateways = [
        ("192.0.2.253", Some("192.0.2.1")),
        ("192.0.2.254", Some("192.0.2.1")),
    ];
    let mut asker = asker(&gateways, Some(MAC));
    asker.ask(true, at(100));
    let (_, second) = (asker.poll_output(), asker.poll_output().unwrap());
    asker.handle_frame(3, &reply(&second));
    assert_eq!(asker.finding(), Gateway::Answers { asked: at(100) });
    asker.configure(&BTreeMap::new(), at(200));
    assert_eq!(asker.finding(), Gateway::None);
}
