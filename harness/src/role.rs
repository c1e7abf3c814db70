//! Path roles: paths with their random and numbered parts normalised, so that the same effect of
//! two runs has the same name.

/// Stands for a number.
const NUMBER: &str = "{N}";
/// Stands for something random.
const RANDOM: &str = "{X}";
/// Letters that Python's tempfile adds.
const PYTHON_TAIL: usize = 8;

/// The roles of one run. Names that the run itself made with `O_EXCL` (or as a private directory,
/// as `mktemp -d` does) and that end like a template of mktemp are known to be random, whatever
/// letters came up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roles {
    made: std::collections::HashMap<String, String>,
}

impl Roles {
    /// Takes note that the run made `path` exclusively.
    pub fn made(&mut self, path: &str) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let tail = random_tail(folder, name);
        if tail > 0 {
            let stem = &name[..name.len() - tail];
            self.made.insert(path.to_owned(), format!("{}{RANDOM}", component_role(stem)));
        }
    }

    /// Takes note that the run moves or links `from` to `to`: letters known to be random there still are, if
    /// the new name has them too.
    pub fn moved(&mut self, from: &str, to: &str) {
        if !self.made.contains_key(from) {
            return;
        }
        let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
        let letters = &name[name.len() - random_tail(folder, name)..];
        let new = to.rsplit_once('/').map_or(to, |(_, name)| name);
        let Some((before, after)) = new.split_once(letters) else { return };
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        if !letters.is_empty() && apart(before.chars().next_back()) && apart(after.chars().next()) {
            let role = format!("{}{RANDOM}{}", component_role(before), component_role(after));
            self.made.insert(to.to_owned(), role);
        }
    }

    /// The role of a path in this run.
    pub fn of(&self, path: &str) -> String {
        if self.made.is_empty() {
            return of(path);
        }
        let mut role = String::with_capacity(path.len());
        let mut end = 0;
        for (index, component) in path.split('/').enumerate() {
            if index > 0 {
                role.push('/');
                end += 1;
            }
            end += component.len();
            match self.made.get(&path[..end]) {
                Some(known) => role.push_str(known),
                None => role.push_str(&component_role(component)),
            }
        }
        role
    }
}

/// The role of a path: `/etc/letsencrypt/archive/example.com/privkey{N}.pem`.
///
/// Two rules, applied to each component on its own. Random-looking runs of letters and digits
/// (what mktemp, tempfile and ACME tokens make) become `{X}`; remaining runs of digits become
/// `{N}`. A name that only looks ordinary (a six-letter mktemp suffix without a digit or a
/// capital) keeps its letters, unless the run was seen making it: see [`Roles`].
pub fn of(path: &str) -> String {
    let mut role = String::with_capacity(path.len());
    for (index, component) in path.split('/').enumerate() {
        if index > 0 {
            role.push('/');
        }
        role.push_str(&component_role(component));
    }
    role
}

/// Whether `path` could be of `role`, whatever the letters of its random parts: `{X}` stands for
/// six or more letters, digits, `-` or `_`, `{N}` for digits.
pub fn matches(role: &str, path: &str) -> bool {
    fn rest_matches(role: &str, path: &str) -> bool {
        for (mark, least, fits) in [
            (RANDOM, 6, (|b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') as fn(u8) -> bool),
            (NUMBER, 1, |b: u8| b.is_ascii_digit()),
        ] {
            if let Some(role) = role.strip_prefix(mark) {
                let longest = path.bytes().take_while(|b| fits(*b)).count();
                return (least..=longest).rev().any(|length| rest_matches(role, &path[length..]));
            }
        }
        match (role.chars().next(), path.chars().next()) {
            (None, None) => true,
            (Some(a), Some(b)) if a == b => rest_matches(&role[a.len_utf8()..], &path[b.len_utf8()..]),
            _ => false,
        }
    }
    rest_matches(role, path)
}

/// How many letters at the end of `name`, which a run made exclusively in `folder`, are random.
fn random_tail(folder: &str, name: &str) -> usize {
    let python = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let bytes = name.as_bytes();
    // Python's tempfile: eight of [a-z0-9_] after somebody's prefix; or alone, where it tries
    // whether a folder for temporary files can be written to.
    if bytes.len() >= PYTHON_TAIL && bytes[bytes.len() - PYTHON_TAIL..].iter().all(|b| python(*b)) {
        let alone = matches!(folder, "/tmp" | "/var/tmp" | "/usr/tmp");
        match bytes.len().checked_sub(PYTHON_TAIL + 1).map(|before| bytes[before]) {
            // After something random it is only the end of that.
            Some(b'-' | b'_' | b'.')
                if !component_role(&name[..bytes.len() - PYTHON_TAIL]).contains(RANDOM) =>
            {
                return PYTHON_TAIL;
            }
            None if alone => return PYTHON_TAIL,
            _ => {}
        }
    }
    // An ACME token is random as a whole: where its last `-` is means nothing.
    if token_start(name).is_some() {
        return 0;
    }
    let tail = bytes.iter().rev().take_while(|b| b.is_ascii_alphanumeric()).count();
    if (6..=12).contains(&tail) && tail < bytes.len() { tail } else { 0 }
}

fn component_role(component: &str) -> String {
    // Python's tempfile: `tmp` and eight of [a-z0-9_].
    if let Some(rest) = component.strip_prefix("tmp") {
        let (random, tail) = rest.split_at(rest.len().min(8));
        if random.len() == 8
            && random.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !tail.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return format!("tmp{RANDOM}{}", numbers(tail));
        }
    }
    // Base64url, as ACME tokens, thumbprints, accounts and order ids are, perhaps after a word of
    // somebody's own: `.guard-{X}`.
    if let Some(start) = token_start(component) {
        return format!("{}{RANDOM}", &component[..start]);
    }
    let mut role = String::with_capacity(component.len());
    let mut run = String::new();
    for c in component.chars() {
        if c.is_ascii_alphanumeric() {
            run.push(c);
        } else {
            push_run(&mut role, &run);
            run.clear();
            role.push(c);
        }
    }
    push_run(&mut role, &run);
    role
}

/// Where random base64url begins that goes on to the component's end. Its own `-` and `_` cannot
/// be told from separators, so all of it counts as one, but for one word of lower-case letters that
/// somebody put before it. (A second one would now and then be found in what is random.)
fn token_start(component: &str) -> Option<usize> {
    let mut start = component.len() - component.trim_start_matches('.').len();
    let rest = &component[start..];
    if rest.len() < 20
        || !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        || !looks_random(rest)
    {
        return None;
    }
    // 32 bytes as base64url: what authorities make their tokens of. No word of anybody's is in it,
    // although one may seem to be.
    let whole = rest.len() == 43;
    if let Some(end) = component[start..].find(['-', '_']).filter(|_| !whole) {
        let word = &component[start..start + end];
        if word.len() >= 4 && word.bytes().all(|b| b.is_ascii_lowercase()) {
            start += end + 1;
        }
    }
    Some(start)
}

fn push_run(role: &mut String, run: &str) {
    if run.len() >= 6 && looks_random(run) {
        role.push_str(RANDOM);
    } else {
        role.push_str(&numbers(run));
    }
}

/// Letters and digits that no person would choose: digits strewn between letters, or capitals in
/// the middle of a word; or long hexadecimal.
fn looks_random(run: &str) -> bool {
    let bytes: Vec<u8> = run.bytes().filter(u8::is_ascii_alphanumeric).collect();
    if bytes.len() >= 16 && bytes.iter().all(u8::is_ascii_hexdigit) && bytes.iter().any(u8::is_ascii_digit) {
        return true;
    }
    if bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let class = |b: u8| match b {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    let changes = bytes.windows(2).filter(|pair| class(pair[0]) != class(pair[1])).count();
    // `fullchain2` changes once, `Makefile` once, `aB3xQ9` five times. One change is a word with a
    // number or a capital; two changes in a short run are `tlsAlpn01`-like names only when long.
    changes * 4 >= bytes.len()
        || (changes >= 2 && bytes.len() <= 12 && bytes.iter().any(u8::is_ascii_uppercase))
}

fn numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_number = false;
    for c in text.chars() {
        if c.is_ascii_digit() {
            if !in_number {
                out.push_str(NUMBER);
            }
            in_number = true;
        } else {
            in_number = false;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_and_random_parts_are_normalised() {
        for (path, role) in [
            (
                "/etc/letsencrypt/archive/example.com/privkey12.pem",
                "/etc/letsencrypt/archive/example.com/privkey{N}.pem",
            ),
            ("/etc/ssl/site/.key.pem.aB3xQ9", "/etc/ssl/site/.key.pem.{X}"),
            ("/tmp/tmp.Ab3dE6gH9k", "/tmp/tmp.{X}"),
            ("/tmp/tmpab_d3f9x", "/tmp/tmp{X}"),
            (
                "/var/www/.guard--svjROOHb8qL7FLg-zxP7jv3-Kq2xkVtQ0dQq4mJ3bI0Yb9m0d1h7w2kzF8s",
                "/var/www/.guard-{X}",
            ),
            (
                "/var/www/.well-known/acme-challenge/zxP7jv3-Kq2xkVtQ0dQq4mJ3bI0Yb9m0d1h7w2kzF8s",
                "/var/www/.well-known/acme-challenge/{X}",
            ),
            (
                "/var/www/.well-known/acme-challenge/pexo-v3Kq2xkVtQ0dQq4mJ3bI0Yb9m0d1h7w2kzF8sQ",
                "/var/www/.well-known/acme-challenge/{X}",
            ),
            (
                "/var/www/.well-known/acme-challenge/djnwcz-hXApntFbfm_J-emcXn1WFFYeSAovv4nTK9u2",
                "/var/www/.well-known/acme-challenge/{X}",
            ),
            (
                "/etc/letsencrypt/accounts/acme-v02.api.letsencrypt.org/directory/0f3a9be2c4d5e6f708192a3b4c5d6e7f/meta.json",
                "/etc/letsencrypt/accounts/acme-v{N}.api.letsencrypt.org/directory/{X}/meta.json",
            ),
        ] {
            assert_eq!(of(path), role);
        }
    }

    #[test]
    fn a_name_the_run_made_like_mktemp_is_random_whatever_its_letters() {
        let mut roles = Roles::default();
        roles.made("/etc/ssl/.key.abcdef");
        assert_eq!(roles.of("/etc/ssl/.key.abcdef"), "/etc/ssl/.key.{X}");
        assert_eq!(roles.of("/etc/ssl/.key.abcdef/file1"), "/etc/ssl/.key.{X}/file{N}");
        assert_eq!(roles.of("/etc/ssl/.key.ghijkl"), "/etc/ssl/.key.ghijkl");
        for token in [
            "2WnhRRkOcAcQhLw4-jq9_5V7GGKwMYh1qLhBcfyPcB6ZVxC3bmQ7J-a5w_qu2x",
            "2WnhRRkOcAcQhLw4-jq9_5V7GGKwMYh1qLhBcfyPcB6ZVxC3bmQ7J-65wbqU",
            "n9JT7oKhiBHhs0Lt-nVyJAWddrdFVuGYaKlQgmSd2I8iH0jowgXX1mh939MI",
            "nffmlq-iBHhs0LtQ-nVyJAWddrdFVuGYaKlQgmSd2I8iH0jowgXX1mh939MI",
        ] {
            let path = format!("/var/www/.guard-{token}");
            roles.made(&path);
            assert_eq!(roles.of(&path), "/var/www/.guard-{X}");
        }
        // A token whose last `-` is followed by letters that could be a suffix of their own.
        let token = "/var/www/.guard-ovv4nTK9u203UatF-PMEbPUZDoY5y2su3-hXApntFbfm_J-emcXn-WFFYeSA";
        roles.made(token);
        assert_eq!(roles.of(token), "/var/www/.guard-{X}");
        roles.made("/run/renew.pid");
        assert_eq!(roles.of("/run/renew.pid"), "/run/renew.pid");
    }

    #[test]
    fn what_is_random_in_a_name_is_random_in_the_next_one() {
        let mut roles = Roles::default();
        roles.made("/etc/ssl/tmp.NZXZUQ");
        roles.moved("/etc/ssl/tmp.NZXZUQ", "/etc/ssl/pair.NZXZUQ");
        assert_eq!(roles.of("/etc/ssl/pair.NZXZUQ/key.pem"), "/etc/ssl/pair.{X}/key.pem");
        roles.moved("/etc/ssl/tmp.NZXZUQ", "/etc/ssl/.NZXZUQ.new");
        assert_eq!(roles.of("/etc/ssl/.NZXZUQ.new"), "/etc/ssl/.{X}.new");
        roles.moved("/etc/ssl/tmp.NZXZUQ", "/etc/ssl/live");
        roles.moved("/etc/ssl/tmp.NZXZUQ", "/etc/ssl/XNZXZUQX");
        roles.moved("/etc/ssl/other", "/etc/ssl/pair.abcdef");
        for path in ["/etc/ssl/live", "/etc/ssl/XNZXZUQX", "/etc/ssl/pair.abcdef"] {
            assert_eq!(roles.of(path), of(path));
        }
    }

    #[test]
    fn names_of_pythons_tempfile_are_random_whatever_came_up() {
        for name in ["/tmp/huw5q005", "/tmp/abcdefgh", "/tmp/a_cdefgh", "/tmp/________", "/tmp/12345678"] {
            let mut roles = Roles::default();
            roles.made(name);
            assert_eq!(roles.of(name), "/tmp/{X}", "{name}");
        }
        for name in ["certbot-log-huw5q005", "certbot-log-ab_defgh", "certbot-log-________"] {
            let path = format!("/tmp/{name}");
            let mut roles = Roles::default();
            roles.made(&path);
            assert_eq!(roles.of(&format!("{path}/log")), "/tmp/certbot-log-{X}/log", "{name}");
        }
    }

    #[test]
    fn a_token_is_one_random_part_wherever_its_dashes_are() {
        for token in [
            "BD9ejnpgVsdQKY2x7lLhW4HAObPpeJN3XEr8-X9WG4I",
            "zxP7jv3-Kq2xkVtQ0dQq4mJ3bI0Yb9m0d1h7w2kzF8s",
            "0jT4QGRvJ3-0dQq4mJ3bI0Yb9m0d1h7w2-abcdef",
            "cD9ejnpgVsdQKY2x7lLhW4HAObPpeJN3XEr8-X9WG4I",
        ] {
            let path = format!("/var/www/.well-known/acme-challenge/{token}");
            let mut roles = Roles::default();
            roles.made(&path);
            assert_eq!(roles.of(&path), "/var/www/.well-known/acme-challenge/{X}");
        }
    }

    #[test]
    fn a_random_part_may_have_any_letters() {
        assert!(matches("/tmp/.key.{X}", "/tmp/.key.abcdef"));
        assert!(matches("/a/privkey{N}.pem", "/a/privkey12.pem"));
        assert!(!matches("/tmp/.key.{X}", "/tmp/.key.abc"));
        assert!(!matches("/tmp/.key.{X}", "/tmp/.key.abcdef/x"));
    }

    #[test]
    fn ordinary_names_keep_their_letters() {
        for path in [
            "/etc/letsencrypt/live/example.com/fullchain.pem",
            "/run/certbot-renew.lock",
            "/etc/nginx/sites-enabled/default",
            "/var/lib/guard/current",
            "/etc/ssl/README",
            "/home/Makefile.old",
        ] {
            assert_eq!(of(path), path);
        }
    }
}
