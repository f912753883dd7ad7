//! `token create|list|revoke`.

use super::output::{or_dash, print, print_json, rfc3339, table};
use super::{act, open};
use crate::app::{Error, NewToken, TokenState};
use crate::cli::{Data, Format, TokenCreate};
use crate::data_dir::DataDir;
use crate::serve::unix_now;
use crate::store::Token;
use crate::tls;
use mgmt_api::{Kind, Token as Paste};
use serde::Serialize;

#[derive(Serialize)]
struct TokenList {
    schema: &'static str,
    tokens: Vec<TokenJson>,
}

#[derive(Serialize)]
struct TokenJson {
    id: String,
    state: &'static str,
    kind: &'static str,
    mode: &'static str,
    groups: Vec<String>,
    prefixes: Vec<String>,
    uses: u32,
    uses_left: u32,
    created: String,
    expires: String,
}

pub(crate) fn create(args: &TokenCreate) -> Result<(), Error> {
    let data = DataDir::open(&args.data.dir)?;
    let (certificate, _) = data.tls()?;
    let fingerprint = tls::fingerprint(&certificate)
        .map_err(|err| Error::Unfit(format!("the TLS certificate cannot be read: {err}")))?;
    let (token, new) = act(|act| {
        let new = NewToken {
            groups: args.groups.clone(),
            kind: args.kind.into(),
            mode: args.mode.into(),
            prefixes: args.prefixes.clone(),
            uses: args.uses,
            expires: act.now.saturating_add(args.expires.as_secs()),
        };
        Ok((data.app()?.create_token(act, &new, fingerprint)?, new))
    })?;
    if args.quiet { print(&token.encode()) } else { print(&to_paste(&token, &new)) }
}

/// The lines to paste. The token goes into a file by standard input: on a command line every user
/// of the machine could read it.
fn to_paste(token: &Paste, new: &NewToken) -> String {
    let program = match new.kind {
        Kind::Host => "ges",
        Kind::Router => "gen",
    };
    let server = token.servers.first().map(ToString::to_string).unwrap_or_default();
    let machines =
        if new.uses == 1 { "one machine".into() } else { format!("{} machines", new.uses) };
    format!(
        "# For {machines}, into {}, until {}. On the new machine, as root:\n\
         install -m 600 /dev/stdin {program}.token <<'END'\n\
         {}\n\
         END\n\
         {program} run --server https://{server} --token-file {program}.token",
        new.groups.join(","),
        rfc3339(new.expires),
        *token.encode(),
    )
}

pub(crate) fn list(data: &Data, format: Format) -> Result<(), Error> {
    let (app, now) = (open(data)?, unix_now());
    let groups = app.groups(now)?;
    let name = |id: &u32| {
        let group = groups.iter().find(|group| group.id == *id);
        group.map_or_else(|| id.to_string(), |group| group.name.clone())
    };
    let tokens = app.tokens()?;
    let list = json(&tokens, now, |token| token.groups.iter().map(name).collect());
    if format.json { print_json(&list) } else { print(&as_table(&list)) }
}

fn json(tokens: &[Token], now: u64, groups: impl Fn(&Token) -> Vec<String>) -> TokenList {
    let tokens = tokens.iter().map(|token| TokenJson {
        id: token.id.to_string(),
        state: TokenState::of(token, now).as_str(),
        kind: token.kind.as_str(),
        mode: token.mode.as_str(),
        groups: groups(token),
        prefixes: token.prefixes.iter().map(ToString::to_string).collect(),
        uses: token.uses,
        uses_left: token.uses_left,
        created: rfc3339(token.created),
        expires: rfc3339(token.expires),
    });
    TokenList { schema: "mgmt.token-list/1", tokens: tokens.collect() }
}

fn as_table(list: &TokenList) -> String {
    let rows: Vec<_> = list
        .tokens
        .iter()
        .map(|token| {
            [
                token.id.clone(),
                token.state.into(),
                token.kind.into(),
                token.mode.into(),
                or_dash(&token.groups),
                or_dash(&token.prefixes),
                format!("{}/{}", token.uses_left, token.uses),
                token.expires.clone(),
            ]
        })
        .collect();
    table(["ID", "STATE", "KIND", "MODE", "GROUPS", "PREFIXES", "LEFT", "EXPIRES"], &rows)
}

pub(crate) fn revoke(data: &Data, id: &str) -> Result<(), Error> {
    let id = act(|act| open(data)?.revoke_token(act, id))?;
    print(&format!("token {id} revoked"))
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;
    use mgmt_api::{HexBytes, Mode, Secret};

    #[test]
    fn json_is_as_the_golden_file_says() {
        let token = Token {
            id: HexBytes([0xab; 8]),
            secret_hash: HexBytes([0; 32]),
            kind: Kind::Router,
            mode: Mode::Closed,
            prefixes: vec!["10.30.0.0/16".parse().unwrap()],
            groups: vec![3],
            uses: 5,
            uses_left: 2,
            created: 1_700_000_000,
            expires: 1_700_086_400,
            revoked: false,
        };
        let list = json(&[token], 1_700_000_001, |_| vec!["sales".into()]);
        assert_golden("token-list", &list);
    }

    #[test]
    fn the_token_is_on_no_command_line() {
        let token = Paste {
            fingerprint: HexBytes([1; 32]),
            id: HexBytes([2; 8]),
            secret: Secret::new([3; 32]),
            servers: vec!["10.0.0.1:8443".parse().unwrap()],
        };
        let new = NewToken {
            groups: vec!["sales".into()],
            kind: Kind::Host,
            mode: Mode::Open,
            prefixes: Vec::new(),
            uses: 1,
            expires: 1_700_000_000,
        };
        let text = to_paste(&token, &new);
        let secret_lines = text.lines().filter(|line| line.contains("gst1_"));
        assert_eq!(secret_lines.collect::<Vec<_>>(), [token.encode().as_str()]);
        assert!(text.ends_with("ges run --server https://10.0.0.1:8443 --token-file ges.token"));
    }
}
