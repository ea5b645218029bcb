use super::{Words, escape};

pub(super) fn words(name: &str) -> Words {
    let html_name = escape(name);
    Words {
        subject: "Welcome to Plumbline".to_owned(),
        text: format!(
            "Hello {name},\n\nyour account is ready. We will write to this address about your orders.\n\nPlumbline\n"
        ),
        html: format!(
            "<!doctype html>\n<html lang=\"en\"><body>\n<p>Hello {html_name},</p>\n\
             <p>your account is ready. We will write to this address about your orders.</p>\n<p>Plumbline</p>\n</body></html>\n"
        ),
    }
}
