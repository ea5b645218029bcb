//! The mail sink's HTTP side, as a test of mails uses it.

use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

#[tokio::test]
async fn messages_are_listed_shown_and_deleted_over_http() {
    let dir = tempfile::tempdir().unwrap();
    let [smtp, http] = [free(), free()];
    let inbox = dir.path().to_owned();
    tokio::spawn(async move { stack::serve_mail_sink(smtp, http, &inbox).await });
    let base = format!("http://{http}/api/v1");
    let client = reqwest::Client::new();
    for number in 1..=3 {
        send(smtp, number).await;
    }
    let get = async |path: &str| -> Value {
        client
            .get(format!("{base}{path}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };

    let page = get("/messages?start=1&limit=1").await;
    assert_eq!(
        (
            page["total"].as_u64(),
            page["count"].as_u64(),
            page["start"].as_u64()
        ),
        (Some(3), Some(1), Some(1))
    );
    let message = &page["messages"][0];
    assert_eq!(
        (&message["Subject"], &message["MessageID"]),
        (&"mail 2".into(), &"2@test".into())
    );
    assert_eq!(message["To"][0]["Address"], "b@example.com");

    let full = get(&format!("/message/{}", message["ID"].as_str().unwrap())).await;
    assert_eq!(full["Text"].as_str().unwrap().trim(), "hello");

    assert!(
        client
            .delete(format!("{base}/messages"))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    assert_eq!(get("/messages").await["total"], 0);
    assert_eq!(
        client
            .get(format!("{base}/message/nothing"))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn send(smtp: SocketAddr, number: u32) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let stream = loop {
        match tokio::net::TcpStream::connect(smtp).await {
            Ok(stream) => break stream,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let mut stream = BufReader::new(stream);
    let message = format!(
        "From: a@example.com\r\nTo: b@example.com\r\nSubject: mail {number}\r\nMessage-ID: <{number}@test>\r\n\r\nhello\r\n."
    );
    let commands = [
        "",
        "HELO test",
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "DATA",
        &message,
        "QUIT",
    ];
    for command in commands {
        if !command.is_empty() {
            stream
                .write_all(format!("{command}\r\n").as_bytes())
                .await
                .unwrap();
        }
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(
            answer.starts_with('2') || answer.starts_with('3'),
            "{command:?}: {answer}"
        );
    }
}
