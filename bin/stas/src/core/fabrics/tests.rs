// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the fabrics text protocol: support, option lists, refusals, answers.

use proptest::prelude::*;

use super::*;
use crate::core::secret::Secret;
use crate::core::tid::{Fields, TidDefaults};

const HOST_ID: &str = "11111111-2222-3333-4444-555555555555";
const SECRET: &str = "DHHC-1:00:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:";

/// What Linux 6.1 answers, and what 6.12 adds.
const LISTING: &str = "instance=-1,cntlid=-1,transport=%s,traddr=%s,trsvcid=%s,nqn=%s,\
    queue_size=%d,nr_io_queues=%d,reconnect_delay=%d,ctrl_loss_tmo=%d,keep_alive_tmo=%d,\
    hostnqn=%s,host_traddr=%s,host_iface=%s,hostid=%s,duplicate_connect,disable_sqflow,\
    hdr_digest,data_digest,nr_write_queues=%d,nr_poll_queues=%d,tos=%d,keyring=%d,tls_key=%d,\
    fast_io_fail_tmo=%d,discovery,dhchap_secret=%s,dhchap_ctrl_secret=%s,tls\n";

fn identity() -> Identity {
    Identity {
        nqn: format!("nqn.2014-08.org.nvmexpress:uuid:{HOST_ID}"),
        id: HOST_ID.to_owned(),
        symname: None,
        key: None,
    }
}

fn tid(values: [&str; 7]) -> Tid {
    let mut fields = Fields::default();
    for (name, value) in Fields::NAMES.iter().zip(values) {
        fields.get_mut(name).expect("a known field").push_str(value);
    }
    Tid::new(&fields, &TidDefaults { host_nqn: &identity().nqn, ignore_iface: false })
}

fn plain(transport: &str) -> Tid {
    tid([transport, "1.2.3.4", "", "nqn.io", "", "", ""])
}

fn make(tid: &Tid, parameters: &Parameters, is_dc: bool) -> Result<String, OptionError> {
    options(tid, &identity(), parameters, is_dc, &Support::from_listing(LISTING))
}

fn host() -> String {
    format!("hostnqn={},hostid={HOST_ID}", identity().nqn)
}

// R169
#[test]
fn releases_are_compared_number_by_number() {
    let release = Version::parse("5.8.0-63-generic");
    let other = Version::parse;
    assert_eq!(release, other("5.8.0-63"));
    assert_ne!(release, other("5.8.0"));
    for later in ["5.9", "5.8.0-64", "5.8.1", "6"] {
        assert!(release < other(later), "{later}");
    }
    for earlier in ["5.7", "5.8", "5.7.0", "5.8.0", "5.8.0-62", ""] {
        assert!(release > other(earlier), "{earlier}");
    }
    assert!(release <= other("5.8.0-63") && release <= other("5.8.1"));
    assert!(release >= other("5.8.0-63") && release >= other("5.7.0"));
    assert!(other("99999999999999999999999") > release);
}

const FOUR: [&str; 4] = ["host_iface", "discovery", "dhchap_secret", "dhchap_ctrl_secret"];

// R170, R180
#[test]
fn the_device_says_what_it_understands() {
    for (listing, expected) in [
        ("", false),
        ("blah", false),
        ("\n,=,", false),
        ("host_iface=%s,discovery,dhchap_secret=%s,dhchap_ctrl_secret=%s", true),
        (" host_iface = %s , discovery , dhchap_secret=%s , dhchap_ctrl_secret \n", true),
        (LISTING, true),
    ] {
        let support = Support::from_listing(listing);
        assert_eq!(FOUR.map(|name| support.has(name)), [expected; 4], "{listing:?}");
    }
    assert!(!Support::from_listing(LISTING).has("concat"));
}

// R169, R170
#[test]
fn unreadable_devices_are_judged_by_the_release() {
    for (release, expected) in [
        ("5.13.19", [false, false, false, false]),
        ("5.14.0-70.13.1.el9", [true, false, false, false]),
        ("5.16", [true, true, false, false]),
        ("6.0.0", [true, true, true, true]),
        ("garbage", [false, false, false, false]),
    ] {
        let support = Support::from_kernel_version(release);
        assert_eq!(FOUR.map(|name| support.has(name)), expected, "{release}");
        assert!(support.has("traddr") && support.has("tos"));
        assert!(!support.has("tls") && !support.has("keyring") && !support.has("tls_key"));
    }
}

// R175
#[test]
fn a_discovery_controller_gets_the_documented_list() {
    let tid = tid(["tcp", "127.0.0.1", "", DISC_NQN, "1.2.3.4", "lo", ""]);
    let parameters = Parameters {
        kato: Some(30),
        hdr_digest: Some(false),
        queue_size: Some(64),
        nr_io_queues: Some(2),
        ctrl_loss_tmo: Some(600),
        ..Parameters::default()
    };
    assert_eq!(
        make(&tid, &parameters, true),
        Ok(format!(
            "nqn={DISC_NQN},transport=tcp,traddr=127.0.0.1,host_traddr=1.2.3.4,host_iface=lo,\
             trsvcid=8009,{},keep_alive_tmo=30,ctrl_loss_tmo=600",
            host()
        ))
    );
}

// R041, R042, R175
#[test]
fn an_io_controller_gets_every_parameter_in_order() {
    let parameters = Parameters {
        hdr_digest: Some(true),
        data_digest: Some(true),
        disable_sqflow: Some(true),
        kato: Some(9),
        queue_size: Some(64),
        nr_io_queues: Some(1),
        nr_write_queues: Some(2),
        nr_poll_queues: Some(3),
        reconnect_delay: Some(5),
        ctrl_loss_tmo: Some(-1),
        fast_io_fail_tmo: Some(7),
        tos: Some(16),
        ..Parameters::default()
    };
    assert_eq!(
        make(&plain("tcp"), &parameters, false),
        Ok(format!(
            "nqn=nqn.io,transport=tcp,traddr=1.2.3.4,trsvcid=8009,{},nr_io_queues=1,\
             nr_write_queues=2,nr_poll_queues=3,queue_size=64,keep_alive_tmo=9,reconnect_delay=5,\
             ctrl_loss_tmo=-1,fast_io_fail_tmo=7,tos=16,disable_sqflow,hdr_digest,data_digest",
            host()
        ))
    );
    assert_eq!(
        make(&plain("tcp"), &Parameters::default(), false),
        Ok(format!("nqn=nqn.io,transport=tcp,traddr=1.2.3.4,trsvcid=8009,{}", host()))
    );
}

// R043, R097, R175
#[test]
fn each_transport_gets_its_options_only() {
    let parameters = Parameters {
        kato: Some(0),
        hdr_digest: Some(true),
        ctrl_loss_tmo: Some(1),
        tos: Some(1),
        ..Parameters::default()
    };
    for (tid, expected) in [
        (
            tid(["rdma", "1.2.3.4", "", "n", "1.1.1.1", "eth0", ""]),
            "nqn=n,transport=rdma,traddr=1.2.3.4,host_traddr=1.1.1.1,trsvcid=4420,HOST,\
             ctrl_loss_tmo=1,tos=1",
        ),
        (
            tid(["fc", "NN-0x1:pn-0x2", "4420", "n", "nn-0x3:pn-0x4", "eth0", ""]),
            "nqn=n,transport=fc,traddr=nn-0x1:pn-0x2,host_traddr=nn-0x3:pn-0x4,HOST,\
             ctrl_loss_tmo=1,tos=1",
        ),
        (tid(["loop", "ignored", "1", "n", "", "", ""]), "nqn=n,transport=loop,HOST"),
    ] {
        let expected = expected.replace("HOST", &host());
        assert_eq!(make(&tid, &parameters, false), Ok(expected));
    }
}

// R175
#[test]
fn a_unique_discovery_nqn_is_announced_where_possible() {
    let unique = tid(["tcp", "::1", "", "nqn.unique", "", "", ""]);
    let has = |support: &Support, is_dc| {
        let list = options(&unique, &identity(), &Parameters::default(), is_dc, support);
        list.expect("valid").split(',').any(|option| option == "discovery")
    };
    assert!(has(&Support::from_listing(LISTING), true));
    assert!(!has(&Support::from_listing(LISTING), false));
    assert!(!has(&Support::from_kernel_version("5.15"), true));
}

// R171
#[test]
fn unknown_options_are_left_out() {
    let tid = tid(["tcp", "1.2.3.4", "", "n", "", "eth0", ""]);
    let parameters = Parameters { tos: Some(1), ..Parameters::default() };
    for support in [Support::default(), Support::from_listing("blah")] {
        let list = options(&tid, &identity(), &parameters, true, &support);
        let expected = format!("nqn=n,transport=tcp,traddr=1.2.3.4,trsvcid=8009,{}", host());
        assert_eq!(list, Ok(expected));
    }
}

// R171
#[test]
fn protection_is_never_left_out() {
    let secret = Secret::parse(SECRET).ok();
    let bare = Support::from_kernel_version("5.15");
    let both = Parameters {
        dhchap_secret: secret.clone(),
        dhchap_ctrl_secret: secret.clone(),
        ..Parameters::default()
    };
    let list = make(&plain("tcp"), &both, false).expect("valid");
    let tail = format!("{},dhchap_secret={SECRET},dhchap_ctrl_secret={SECRET}", host());
    assert!(list.ends_with(&tail), "{list}");
    let tls = |key| Parameters { tls: Some(true), tls_key: key, ..Parameters::default() };
    let list = make(&plain("tcp"), &tls(Some(0xab)), false).expect("valid");
    assert!(list.ends_with(",tls_key=0x000000ab,tls"), "{list}");
    for (parameters, error) in [
        (both.clone(), OptionError::Unsupported("dhchap_secret")),
        (tls(None), OptionError::Unsupported("tls")),
        (tls(Some(1)), OptionError::Unsupported("tls_key")),
    ] {
        let refused = options(&plain("tcp"), &identity(), &parameters, false, &bare);
        assert_eq!(refused, Err(error));
    }
    let unusable = Parameters { unusable: Some("tls-key"), ..Parameters::default() };
    let elsewhere =
        Parameters { dhchap_secret: Some(Secret::File("/k".to_owned())), ..Parameters::default() };
    let half = Parameters { dhchap_secret: None, ..both };
    for (tid, parameters, error) in [
        (plain("tcp"), unusable, OptionError::Security("tls-key")),
        (plain("tcp"), elsewhere, OptionError::SecretMissing("dhchap_secret")),
        (plain("tcp"), half, OptionError::SecretMissing("dhchap_secret")),
        (plain("rdma"), tls(None), OptionError::Security("tls")),
    ] {
        assert_eq!(make(&tid, &parameters, false), Err(error));
    }
}

// R069
#[test]
fn the_entrys_secret_comes_before_the_hosts_key() {
    let other = SECRET.replace("AAEC", "BBBB");
    let keyed = Identity { key: Secret::parse(SECRET).ok(), ..identity() };
    let own = Parameters { dhchap_secret: Secret::parse(&other).ok(), ..Parameters::default() };
    for (parameters, expected) in [(own, other.as_str()), (Parameters::default(), SECRET)] {
        let support = Support::from_listing(LISTING);
        let list = options(&plain("tcp"), &keyed, &parameters, false, &support).expect("valid");
        assert!(list.ends_with(&format!("dhchap_secret={expected}")));
    }
    let invalid = Identity { key: Some(Secret::Invalid), ..identity() };
    let support = Support::from_listing(LISTING);
    let refused = options(&plain("tcp"), &invalid, &Parameters::default(), false, &support);
    assert_eq!(refused, Err(OptionError::SecretMissing("dhchap_secret")));
}

// R057
#[test]
fn a_foreign_host_nqn_brings_its_own_id() {
    let with = |nqn: &str, host_id: Option<&str>| {
        let tid = tid(["tcp", "1.2.3.4", "", "n", "", "", nqn]);
        let host_id = host_id.map(str::to_owned);
        make(&tid, &Parameters { host_id, ..Parameters::default() }, false)
    };
    let uuid = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    let nqn = format!("nqn.2014-08.org.nvmexpress:uuid:{uuid}");
    let tail = format!("hostnqn={nqn},hostid={uuid}");
    assert!(with(&nqn, None).expect("valid").ends_with(&tail));
    assert!(with("nqn.h", Some(uuid)).expect("valid").ends_with(&format!("hostid={uuid}")));
    assert_eq!(with("nqn.h", None), Err(OptionError::NoHostId("nqn.h".to_owned())));
    assert_eq!(with("nqn.h", Some("x")), Err(OptionError::HostId("x".to_owned())));
    let nameless = Identity { nqn: String::new(), ..identity() };
    let anonymous = Tid::new(plain("tcp").fields(), &TidDefaults::default());
    let anonymous = Tid::new(
        &Fields { host_nqn: String::new(), ..anonymous.fields().clone() },
        &TidDefaults::default(),
    );
    let support = Support::from_listing(LISTING);
    let list = options(&anonymous, &nameless, &Parameters::default(), false, &support);
    assert!(!list.expect("valid").contains("host"));
}

// R177
#[test]
fn values_that_the_kernel_would_misread_are_refused() {
    for (position, option) in [
        (0, "transport"),
        (1, "traddr"),
        (2, "trsvcid"),
        (3, "nqn"),
        (4, "host_traddr"),
        (5, "host_iface"),
    ] {
        for bad in ["a,b", "a\nb", "a\0b", "a\rb", ",", "a\u{85}b"] {
            let mut values = ["tcp", "1.2.3.4", "", "nqn.io", "", "", ""];
            values[position] = bad;
            // Only TCP has an interface; another transport drops it before it gets here.
            assert_eq!(
                make(&tid(values), &Parameters::default(), false),
                Err(OptionError::Character(if position == 0 { "transport" } else { option })),
                "{option} {bad:?}"
            );
        }
    }
    let long = |bytes: usize| "n".repeat(bytes);
    let with_nqn =
        |nqn: &str| make(&tid(["tcp", "::1", "", nqn, "", "", ""]), &Parameters::default(), false);
    assert!(with_nqn(&long(223)).is_ok());
    assert_eq!(with_nqn(&long(224)), Err(OptionError::Nqn("nqn")));
    let far = tid(["tcp", &long(4096), "", "n", "", "", ""]);
    assert!(matches!(make(&far, &Parameters::default(), false), Err(OptionError::Length(_))));
    let id = Identity { id: "no-uuid".to_owned(), ..identity() };
    let support = Support::from_listing(LISTING);
    let refused = options(&plain("tcp"), &id, &Parameters::default(), false, &support);
    assert_eq!(refused, Err(OptionError::HostId("no-uuid".to_owned())));
}

// R176
#[test]
fn the_kernels_answer_is_read_by_key() {
    for (reply, expected) in [
        ("instance=0,cntlid=1\n", Some(0)),
        ("cntlid=1,instance=12", Some(12)),
        (" instance = 3 ,x\n", Some(3)),
        ("instance=-1,cntlid=-1,transport=%s", None),
        ("myinstance=3", None),
        ("instance=99999999999", None),
        ("", None),
        ("\0\0", None),
    ] {
        assert_eq!(parse_reply(reply).ok(), expected, "{reply:?}");
    }
    let error = parse_reply("a\nb").expect_err("no instance");
    assert_eq!(error.to_string(), "kernel answered without an instance: 'a\\nb'");
}

// R179
#[test]
fn errors_are_explained() {
    for (errno, start) in [
        (4, "EINTR"),
        (11, "EAGAIN"),
        (22, "EINVAL"),
        (111, "ECONNREFUSED"),
        (114, "EALREADY"),
        (129, "EKEYREJECTED"),
    ] {
        assert!(explain_errno(errno).starts_with(start), "{errno}");
    }
    assert_eq!(explain_errno(9999), "error 9999");
    assert!(ERRNOS.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

proptest! {
    // R132, R177
    #[test]
    fn no_field_smuggles_an_option(
        values in prop::collection::vec("[a-z0-9:.%,=\n\r\t\0 -]{0,12}", 7),
        host_id in "[a-z,\n]{0,4}",
        is_dc: bool,
    ) {
        let mut fields = Fields::default();
        for (name, value) in Fields::NAMES.iter().zip(&values) {
            fields.get_mut(name).expect("a known field").push_str(value);
        }
        for transport in ["tcp", "rdma", "fc", "loop", values[0].as_str()] {
            transport.clone_into(&mut fields.transport);
            let tid = Tid::new(&fields, &TidDefaults { host_nqn: "nqn.h", ignore_iface: false });
            let identity = Identity { nqn: tid.host_nqn().to_owned(), ..identity() };
            let host_id = Some(host_id.clone()).filter(|id| !id.is_empty());
            let parameters = Parameters { host_id, ..Parameters::default() };
            let support = Support::from_listing(LISTING);
            let Ok(list) = options(&tid, &identity, &parameters, is_dc, &support) else { continue };
            prop_assert!(list.len() <= OPTIONS_LEN_MAX);
            prop_assert!(!list.chars().any(char::is_control), "{list:?}");
            let mut seen = BTreeSet::new();
            for option in list.split(',') {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                prop_assert!(seen.insert(name.to_owned()), "{list}");
                let expected = match name {
                    "nqn" => tid.subsysnqn(),
                    "transport" => tid.transport(),
                    "traddr" => tid.traddr(),
                    "trsvcid" => tid.trsvcid(),
                    "host_traddr" => tid.host_traddr(),
                    "host_iface" => tid.host_iface(),
                    "hostnqn" => tid.host_nqn(),
                    "hostid" => HOST_ID,
                    "discovery" => "",
                    other => return Err(TestCaseError::fail(format!("option {other}"))),
                };
                prop_assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn no_text_of_the_kernel_makes_a_reader_panic(text in any::<String>()) {
        let support = Support::from_listing(&text);
        prop_assert!(!support.has(""));
        prop_assert!(Version::parse(&text) >= Version::parse(""));
        prop_assert!(parse_reply(&text).is_ok() || text.len() < 10 || !text.contains("instance=1"));
    }
}
