//! How commands reach a running server: flags that stand for `[client]`.

/// Flags of every command that connects to a running server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "To reach a running server")]
pub(super) struct Connection {
    /// Its gRPC address, such as <https://replica:50051>; http:// for plaintext [default: `server.grpc_addr`]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,

    /// Authorities (PEM) by which its certificate is trusted [default: the system's]
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<String>,

    /// Certificate (PEM) to show it
    #[arg(long, global = true, value_name = "FILE")]
    tls_cert: Option<String>,

    /// Private key (PEM) of that certificate [default: in the same file]
    #[arg(long, global = true, value_name = "FILE")]
    tls_key: Option<String>,

    /// The name that its certificate must have [default: the address's]
    #[arg(long, global = true, value_name = "NAME")]
    tls_name: Option<String>,

    /// File with a token by which it knows who calls, where it takes tokens
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<String>,
}

impl Connection {
    /// The settings that the flags stand for.
    pub(super) fn settings(self) -> Vec<(String, String)> {
        let Self {
            server,
            tls_ca,
            tls_cert,
            tls_key,
            tls_name,
            token_file,
        } = self;
        let given = [
            ("client.address", server),
            ("client.tls_ca_file", tls_ca),
            ("client.tls_certificate_file", tls_cert),
            ("client.tls_key_file", tls_key),
            ("client.tls_name", tls_name),
            ("client.token_file", token_file),
        ];
        let given = given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        given.collect()
    }
}
