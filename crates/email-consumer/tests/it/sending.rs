//! From `pending` to an end, with servers that work and servers that don't.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use email_consumer::MailArgs;
use settings::Secret;

use crate::deliveries::{Sending, database, deliveries, due, execute, until_all};
use crate::mail_server::{Act, MailServer, args};

#[tokio::test(flavor = "multi_thread")]
async fn a_due_mail_is_sent_with_its_own_message_id() {
    let (database, server) = (database().await, MailServer::start(&[]));
    due(&database, 1).await;
    let sending = Sending::start(&database, &server.args());
    let sent = until_all(&database, "sent").await;
    sending.stop().await;

    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].to, ["ada@example.com"]);
    assert_eq!(
        received[0].header("Message-ID"),
        format!("<{}@plumbline.localhost>", sent[0].message_id)
    );
    assert_eq!((sent[0].attempts, &sent[0].error), (1, &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_share_the_work_and_no_mail_is_sent_twice() {
    let (database, server) = (database().await, MailServer::start(&[]));
    due(&database, 60).await;
    let senders = [
        Sending::start(&database, &server.args()),
        Sending::start(&database, &server.args()),
        Sending::start(&database, &server.args()),
    ];
    let sent = until_all(&database, "sent").await;
    for sender in senders {
        sender.stop().await;
    }
    // Nobody claimed what another had: the epoch would stop the second, but only after a conversation for nothing.
    assert!(sent.iter().all(|delivery| delivery.attempts == 1), "{sent:?}");
    let received = server.received();
    let ids: HashSet<&str> = received.iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!((received.len(), ids.len()), (60, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_dies_while_transmitting_leaves_an_ambiguous_mail_that_nobody_resends() {
    let (database, server) = (database().await, MailServer::start(&[Act::SilentAfterMessage]));
    due(&database, 1).await;
    let sending = Sending::start(&database, &server.args());
    testkit::eventually("the server has the message", async || {
        (!server.received().is_empty()).then_some(())
    })
    .await;
    // Committed before the message went out, or else a crash here would send it again.
    assert_eq!(deliveries(&database).await[0].state, "transmitting");
    sending.kill().await;
    lapse_leases(&database).await;

    let successor = Sending::start(&database, &server.args());
    let ambiguous = until_all(&database, "ambiguous").await;
    due(&database, 1).await;
    testkit::eventually("a later mail is sent", async || {
        (server.received().len() == 2).then_some(())
    })
    .await;
    successor.stop().await;
    let ids: HashSet<String> = server
        .received()
        .iter()
        .map(|mail| mail.header("Message-ID").to_owned())
        .collect();
    assert_eq!(ids.len(), 2, "the ambiguous mail was sent again");
    assert_eq!(ambiguous[0].attempts, 1);
    assert_eq!(deliveries(&database).await[0].state, "ambiguous");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_dies_before_the_message_is_replaced_and_the_mail_is_sent_once() {
    let (database, server) = (database().await, MailServer::start(&[Act::SilentAtRecipient]));
    due(&database, 1).await;
    let sending = Sending::start(&database, &server.args());
    testkit::eventually("the mail is claimed", async || {
        (deliveries(&database).await[0].state == "claimed").then_some(())
    })
    .await;
    sending.kill().await;
    lapse_leases(&database).await;

    let successor = Sending::start(&database, &server.args());
    let sent = until_all(&database, "sent").await;
    successor.stop().await;
    assert_eq!((server.received().len(), sent[0].attempts), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_whose_claim_has_lapsed_sends_nothing() {
    let (database, server) = (database().await, MailServer::start(&[Act::HeldAtRecipient]));
    due(&database, 1).await;
    let slow = Sending::start(&database, &server.args());
    testkit::eventually("the mail is claimed", async || {
        (deliveries(&database).await[0].state == "claimed").then_some(())
    })
    .await;
    lapse_leases(&database).await;
    // It is claimed again and sent in a second conversation, while the first one still waits for its answer.
    until_all(&database, "sent").await;
    server.release();
    slow.stop().await;
    assert_eq!(server.received().len(), 1);
    assert_eq!(deliveries(&database).await[0].state, "sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_after_the_message_leaves_it_ambiguous() {
    let (database, server) = (database().await, MailServer::start(&[Act::CloseAfterMessage]));
    due(&database, 1).await;
    let sending = Sending::start(&database, &server.args());
    let ambiguous = until_all(&database, "ambiguous").await;
    sending.stop().await;
    assert!(ambiguous[0].error.is_some());
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_refusal_is_tried_again_and_a_final_one_is_not() {
    for (act, end, attempts, received) in [
        (Act::Recipient(451), "sent", 2, 1),
        (Act::Message(452), "sent", 2, 2),
        (Act::Recipient(550), "failed", 1, 0),
        (Act::Message(554), "failed", 1, 1),
    ] {
        let (database, server) = (database().await, MailServer::start(&[act]));
        due(&database, 1).await;
        let sending = Sending::start(&database, &server.args());
        let ended = until_all(&database, end).await;
        sending.stop().await;
        assert_eq!(ended[0].attempts, attempts, "{act:?}");
        let mails = server.received();
        assert_eq!(mails.len(), received, "{act:?}");
        assert_eq!(
            mails.iter().filter(|mail| mail.accepted).count(),
            usize::from(end == "sent"),
            "{act:?}"
        );
        // The code is kept, the server's words are not: they may repeat the address.
        let error = ended[0].error.clone().unwrap_or_default();
        assert!(
            !error.contains('@') && (end == "sent" || error.contains("55")),
            "{act:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_for_a_server_that_is_down() {
    let database = database().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    due(&database, 1).await;
    let sending = Sending::start(&database, &args(port));
    testkit::eventually("the first attempt has failed", async || {
        let delivery = deliveries(&database).await.remove(0);
        (delivery.state == "pending" && delivery.error.is_some()).then_some(())
    })
    .await;
    let server = MailServer::on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap(), &[]);
    until_all(&database, "sent").await;
    sending.stop().await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_stopped_finishes_its_mails_and_takes_no_more() {
    let (database, server) = (database().await, MailServer::start(&[]));
    due(&database, 400).await;
    let sending = Sending::start(&database, &server.args());
    testkit::eventually("some mails are sent", async || {
        (server.received().len() >= 4).then_some(())
    })
    .await;
    sending.stop().await;
    let rows = deliveries(&database).await;
    let of = |state: &str| rows.iter().filter(|delivery| delivery.state == state).count();
    assert_eq!(of("sent"), server.received().len());
    assert_eq!(of("sent") + of("pending"), 400);
    assert_ne!(
        of("pending"),
        0,
        "all were sent before the stop; the test needs more of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_fails_without_a_conversation() {
    let (database, server) = (database().await, MailServer::start(&[]));
    due(&database, 1).await;
    execute(&database, "UPDATE email_delivery SET recipient = 'nobody at all'").await;
    let sending = Sending::start(&database, &server.args());
    until_all(&database, "failed").await;
    sending.stop().await;
    assert!(server.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_server_file_is_used_for_the_next_mail_without_a_restart() {
    let database = database().await;
    let (old, new) = (MailServer::start(&[]), MailServer::start(&[]));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), old.url()).unwrap();
    let args = MailArgs {
        smtp_url: Secret::in_file(file.path()),
        ..old.args()
    };
    due(&database, 1).await;
    let sending = Sending::start(&database, &args);
    let first = until_all(&database, "sent").await;
    assert_eq!((old.received().len(), new.received().len()), (1, 0));

    std::fs::write(file.path(), new.url()).unwrap();
    due(&database, 1).await;
    let second = until_all(&database, "sent").await;
    sending.stop().await;
    assert_eq!((first.len(), second.len()), (1, 2));
    assert_eq!((old.received().len(), new.received().len()), (1, 1));
    assert_eq!(
        new.received()[0].header("Message-ID"),
        format!("<{}@plumbline.localhost>", second[1].message_id)
    );
}

/// Lets time pass.
async fn lapse_leases(database: &testkit::Database) {
    execute(
        database,
        "UPDATE email_delivery SET lease_until = clock_timestamp() - interval '1 s' WHERE lease_until IS NOT NULL",
    )
    .await;
}
