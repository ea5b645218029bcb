use std::time::{Duration, Instant};

use identity::{Caller, Minter, Rejected, Verifier};

use crate::signed::{GATEWAY, KeyFile, now};

#[test]
fn an_error_at_start_names_the_file_and_what_is_wrong() {
    let file = KeyFile::of(&[]);
    let path = file.path();
    let error = |path| Verifier::assertions(path).err().unwrap().to_string();
    assert_eq!(
        error(&path),
        format!("the key set {} is unusable: it holds no key", path.display())
    );
    let absent = path.with_file_name("absent.json");
    let text = error(&absent);
    assert!(
        text.starts_with(&format!("cannot read the key set {}", absent.display())),
        "{text}"
    );
}

#[test]
fn a_key_that_is_taken_away_proves_nothing_any_more_whatever_was_verified_before() {
    let file = KeyFile::of(&[GATEWAY]);
    let verifier = Verifier::assertions(&file.path()).unwrap();
    let minter = Minter::from_pem(GATEWAY.pem().as_bytes(), GATEWAY.id).unwrap();
    let token = minter.mint(&Caller::anonymous(), now()).unwrap();
    for _ in 0..2 {
        assert!(verifier.verify(&token).is_ok());
    }
    file.replace(&[GATEWAY.named("gateway-2")]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while verifier.verify(&token) != Err(Rejected::UnknownKey) {
        assert!(Instant::now() < deadline, "the key is still trusted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_rotated_key_is_seen_without_a_restart() {
    let file = KeyFile::of(&[GATEWAY]);
    let verifier = Verifier::assertions(&file.path()).unwrap();
    let rotated = GATEWAY.named("gateway-2");
    let token = Minter::from_pem(rotated.pem().as_bytes(), rotated.id)
        .unwrap()
        .mint(&Caller::anonymous(), now())
        .unwrap();
    assert_eq!(verifier.verify(&token), Err(Rejected::UnknownKey));

    file.replace(&[GATEWAY, rotated]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while verifier.verify(&token).is_err() {
        assert!(Instant::now() < deadline, "the rotated key was not seen");
        std::thread::sleep(Duration::from_millis(50));
    }
}
