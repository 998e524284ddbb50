use super::*;
use alloc::vec;
use std::net::Ipv4Addr;

const MAC: Mac = [2, 0, 0, 0, 0, 9];

fn at(ms: u64) -> Timestamp {
    Timestamp::since_boot(Duration::from_millis(ms))
}

fn wanted(vips: &[&str], links: &[u32]) -> Wanted {
    let vips = vips.iter().map(|vip| vip.parse().unwrap());
    Wanted {
        vips: vips
            .map(|vip| (vip, links.iter().copied().collect()))
            .collect(),
        links: links.iter().map(|link| (*link, MAC)).collect(),
        ..Wanted::default()
    }
}

fn many(vips: u32) -> Wanted {
    let vips = (0..vips).map(|n| IpAddr::from(Ipv4Addr::from(0xc612_0000 + n)));
    Wanted {
        vips: vips.map(|vip| (vip, [3].into())).collect(),
        links: [(3, MAC)].into(),
        ..Wanted::default()
    }
}

/// When which link was told something, until nothing is left or the time
/// is over.
fn run(announcer: &mut Announcer, until_ms: u64) -> Vec<(u64, u32)> {
    let mut told = Vec::new();
    loop {
        let Some(next) = announcer.deadline().filter(|next| *next <= at(until_ms)) else {
            return told;
        };
        announcer.handle_timeout(next);
        let ms = next.since(at(0)).as_millis().try_into().unwrap();
        while let Some(Output::Send { link, .. }) = announcer.poll_output() {
            told.push((ms, link));
        }
    }
}

fn drain(announcer: &mut Announcer) -> usize {
    core::iter::from_fn(|| announcer.poll_output()).count()
}

#[test]
fn a_vip_is_announced_at_once_and_four_times_more() {
    let mut announcer = Announcer::new();
    announcer.configure(&wanted(&["2001:db8::1"], &[3]), at(1000));
    assert_eq!(drain(&mut announcer), 1, "at once");
    let told = run(&mut announcer, 60_000);
    assert_eq!(told, [(2100, 3), (3200, 3), (4300, 3), (5400, 3)]);
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn both_forms_of_arp_go_out_by_every_link_of_the_vip() {
    let mut announcer = Announcer::new();
    let mut two = wanted(&["192.0.2.1", "192.0.2.2"], &[3, 4]);
    let second: IpAddr = "192.0.2.2".parse().unwrap();
    two.vips.insert(second, [4].into());
    announcer.configure(&two, at(0));
    let links: Vec<u32> = core::iter::from_fn(|| announcer.poll_output())
        .map(|Output::Send { link, .. }| link)
        .collect();
    assert_eq!(links, [3, 3, 4, 4, 4, 4]);
}

#[test]
fn a_link_that_appears_is_told_and_what_is_lost_is_told_no_more() {
    let mut announcer = Announcer::new();
    announcer.configure(&wanted(&["2001:db8::1"], &[3]), at(0));
    drain(&mut announcer);
    announcer.configure(&wanted(&["2001:db8::1"], &[3, 4]), at(500));
    let Some(Output::Send { link: 4, .. }) = announcer.poll_output() else {
        panic!("the new link is told");
    };
    assert_eq!(drain(&mut announcer), 0, "and the other one is not");
    announcer.configure(&wanted(&[], &[3, 4]), at(600));
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn another_mac_is_announced_anew() {
    let mut announcer = Announcer::new();
    let mut wanted = wanted(&["2001:db8::1"], &[3]);
    announcer.configure(&wanted, at(0));
    run(&mut announcer, 60_000);
    wanted.links.insert(3, [2, 0, 0, 0, 0, 10]);
    announcer.configure(&wanted, at(70_000));
    assert_eq!(drain(&mut announcer), 1);
}

#[test]
fn with_a_refresh_it_goes_on() {
    let mut announcer = Announcer::new();
    let mut wanted = wanted(&["2001:db8::1"], &[3]);
    announcer.configure(&wanted, at(0));
    run(&mut announcer, 10_000);
    wanted.refresh = Some(Duration::from_secs(1));
    announcer.configure(&wanted, at(10_000));
    let told = run(&mut announcer, 12_500);
    assert_eq!(told, [(11_000, 3), (12_000, 3)]);
    wanted.refresh = None;
    announcer.configure(&wanted, at(12_600));
    assert_eq!(run(&mut announcer, 60_000), []);
}

/// How many frames went out in each 100 ms from the first on, until the time is
/// over.
fn frames(announcer: &mut Announcer, tenths: usize) -> Vec<usize> {
    let mut frames = vec![0; tenths];
    frames[0] = drain(announcer);
    let end = u64::try_from(tenths).unwrap() * 100 - 1;
    for (ms, _) in run(announcer, end) {
        frames[usize::try_from(ms / 100).unwrap()] += 1;
    }
    frames
}

#[test]
fn five_hundred_vips_are_announced_within_a_tenth_of_a_second_and_never_in_a_burst() {
    let mut announcer = Announcer::new();
    announcer.configure(&many(500), at(0));
    let mut frames = vec![(0, drain(&mut announcer))];
    while let Some(next) = announcer.deadline().filter(|next| *next < at(1000)) {
        announcer.handle_timeout(next);
        frames.push((next.since(at(0)).as_millis(), drain(&mut announcer)));
    }
    assert!(frames.iter().all(|(_, frames)| *frames <= 2 * BATCH));
    assert_eq!(frames.iter().map(|(_, frames)| frames).sum::<usize>(), 1000);
    assert_eq!(frames.last().unwrap().0, 70);
}

#[test]
fn up_to_seven_hundred_vips_are_announced_again_on_metallbs_schedule() {
    let mut announcer = Announcer::new();
    announcer.configure(&many(700), at(0));
    let frames = frames(&mut announcer, 60);
    assert_eq!(frames.iter().sum::<usize>(), 700 * 2 * 5, "none is left");
    let again = &frames[2..];
    assert!(again.iter().all(|frames| *frames <= 2 * AGAIN_BATCH));
}

#[test]
fn ten_thousand_vips_are_announced_at_once_and_then_at_leisure() {
    let mut announcer = Announcer::new();
    announcer.configure(&many(10_000), at(0));
    let frames = frames(&mut announcer, 800);
    // The first time, at 6,400 VIPs a second.
    assert!(frames[..16].iter().sum::<usize>() >= 20_000);
    // After that, no more than 1,280 frames a second.
    let again = &frames[16..];
    assert!(again.iter().all(|frames| *frames <= 2 * AGAIN_BATCH));
    assert_eq!(frames.iter().sum::<usize>(), 10_000 * 2 * 5);
    assert_eq!(frames[700..], [0; 100], "and then it is idle");
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn who_may_not_be_alone_tells_a_few_of_its_vips_in_turn() {
    let mut announcer = Announcer::new();
    let mut all = many(100);
    announcer.configure(&all, at(0));
    run(&mut announcer, 60_000);
    all.sample = Some(Duration::from_secs(1));
    announcer.configure(&all, at(60_000));
    let told = run(&mut announcer, 64_000);
    let at_second = |s: u64| told.iter().filter(|(ms, _)| *ms == s * 1000).count();
    assert_eq!([61, 62, 63, 64].map(at_second), [2 * SAMPLE; 4]);
    assert_eq!(told.len(), 4 * 2 * SAMPLE, "and nothing between");
    // All in their turn, also when some go meanwhile.
    let mut seen = BTreeSet::new();
    all.vips.pop_first();
    announcer.configure(&all, at(64_500));
    for s in 65..69 {
        announcer.handle_timeout(at(s * 1000));
        while let Some(Output::Send { frame, .. }) = announcer.poll_output() {
            seen.insert(frame[28..32].to_vec());
        }
    }
    assert_eq!(seen.len(), 99);
    all.sample = None;
    announcer.configure(&all, at(70_000));
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn with_few_vips_each_is_told_once_in_a_sample() {
    let mut announcer = Announcer::new();
    let mut wanted = wanted(&["2001:db8::1", "2001:db8::2"], &[3]);
    announcer.configure(&wanted, at(0));
    run(&mut announcer, 60_000);
    wanted.sample = Some(Duration::from_secs(1));
    announcer.configure(&wanted, at(60_000));
    assert_eq!(run(&mut announcer, 61_000), [(61_000, 3), (61_000, 3)]);
}

#[test]
fn a_vip_that_somebody_claims_is_defended_at_once_and_every_ten_seconds() {
    let mut announcer = Announcer::new();
    let mut wanted = wanted(&["2001:db8::1", "2001:db8::2"], &[3]);
    announcer.configure(&wanted, at(0));
    run(&mut announcer, 60_000);
    let claimed: IpAddr = "2001:db8::2".parse().unwrap();
    wanted.contested.insert(claimed);
    announcer.configure(&wanted, at(60_000));
    assert_eq!(drain(&mut announcer), 1, "at once, the one that is claimed");
    assert_eq!(run(&mut announcer, 75_000), [(70_000, 3)]);
    // Not claimed for a moment is no reason to defend more often.
    wanted.contested.clear();
    announcer.configure(&wanted, at(75_000));
    wanted.contested.insert(claimed);
    announcer.configure(&wanted, at(76_000));
    assert_eq!(drain(&mut announcer), 0);
    assert_eq!(run(&mut announcer, 85_000), [(80_000, 3)]);
    wanted.contested.clear();
    announcer.configure(&wanted, at(86_000));
    assert_eq!(announcer.deadline(), None);
}

#[test]
fn a_claimed_vip_goes_before_thousands_that_are_announced_again() {
    let mut announcer = Announcer::new();
    let mut all = many(5000);
    announcer.configure(&all, at(0));
    run(&mut announcer, 5_000);
    let last = *all.vips.last_key_value().unwrap().0;
    all.contested.insert(last);
    announcer.configure(&all, at(5_000));
    announcer.handle_timeout(at(5_100));
    let Some(Output::Send { frame, .. }) = announcer.poll_output() else {
        panic!("it goes on");
    };
    let IpAddr::V4(last) = last else {
        panic!("IPv4")
    };
    assert_eq!(frame[28..32], last.octets());
}

#[test]
fn a_link_that_comes_back_is_told_anew() {
    let mut announcer = Announcer::new();
    let mut wanted = wanted(&["2001:db8::1"], &[3, 4]);
    announcer.configure(&wanted, at(0));
    run(&mut announcer, 60_000);
    wanted.links.remove(&4);
    announcer.configure(&wanted, at(60_000));
    assert_eq!(announcer.deadline(), None);
    wanted.links.insert(4, MAC);
    announcer.configure(&wanted, at(61_000));
    assert_eq!(drain(&mut announcer), 1);
    let told = run(&mut announcer, 70_000);
    assert_eq!(
        told.iter().map(|(_, link)| *link).collect::<Vec<_>>(),
        [4; 4]
    );
}
