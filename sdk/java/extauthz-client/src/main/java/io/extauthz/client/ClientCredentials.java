package io.extauthz.client;

import java.net.URI;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * A client of the identity provider (RFC 6749 4.4). The token endpoint is discovered from the issuer; a token
 * is kept until shortly before it expires, and fetched once more when the API refuses it.
 */
public final class ClientCredentials implements Credentials {

    private final String issuer;
    private final String clientId;
    private final ClientAuthentication method;
    private final String secret;
    private final Path keyFile;
    private final String keyId;
    private final String scope;
    private final String audience;
    private final List<String> resources;

    private ClientCredentials(Builder builder) {
        issuer = builder.issuer;
        clientId = builder.clientId;
        method = builder.method != null
                ? builder.method
                : builder.keyFile != null
                        ? ClientAuthentication.PRIVATE_KEY_JWT
                        : ClientAuthentication.CLIENT_SECRET_BASIC;
        secret = builder.secret;
        keyFile = builder.keyFile;
        keyId = builder.keyId;
        scope = builder.scope;
        audience = builder.audience;
        resources = List.copyOf(builder.resources);
    }

    /**
     * Starts a client. One of {@link Builder#secret} and {@link Builder#keyFile} is needed.
     *
     * @param issuer the issuer identifier, an http or https address
     * @param clientId the client id
     * @return a builder
     */
    public static Builder builder(String issuer, String clientId) {
        return new Builder(issuer, clientId);
    }

    String issuer() {
        return issuer;
    }

    String clientId() {
        return clientId;
    }

    ClientAuthentication method() {
        return method;
    }

    String secret() {
        return secret;
    }

    Path keyFile() {
        return keyFile;
    }

    String keyId() {
        return keyId;
    }

    String scope() {
        return scope;
    }

    String audience() {
        return audience;
    }

    List<String> resources() {
        return resources;
    }

    /**
     * Returns a text without the secret.
     *
     * @return the issuer, the client id and the method
     */
    @Override
    public String toString() {
        return "ClientCredentials[issuer=" + issuer + ", clientId=" + clientId + ", method=" + method.word() + "]";
    }

    /** Collects what a client needs. Not for several threads at once. */
    public static final class Builder {

        private final String issuer;
        private final String clientId;
        private ClientAuthentication method;
        private String secret;
        private Path keyFile;
        private String keyId;
        private String scope;
        private String audience;
        private final List<String> resources = new ArrayList<>();

        private Builder(String issuer, String clientId) {
            this.issuer = Objects.requireNonNull(issuer, "issuer");
            this.clientId = Objects.requireNonNull(clientId, "clientId");
        }

        /**
         * Sets the client's secret.
         *
         * @param secret the secret
         * @return this builder
         */
        public Builder secret(String secret) {
            this.secret = Objects.requireNonNull(secret, "secret");
            return this;
        }

        /**
         * Sets the client's private key. The file is read again for each token, so that it can be replaced.
         *
         * @param file a file in PEM with a key in PKCS#8 without a password: RSA of at least 2048 bits
         *     (RS256), P-256 (ES256), P-384 (ES384), P-521 (ES512) or Ed25519 (EdDSA)
         * @return this builder
         */
        public Builder keyFile(Path file) {
            this.keyFile = Objects.requireNonNull(file, "file");
            return this;
        }

        /**
         * Sets the id of the private key.
         *
         * @param keyId the {@code kid} of what the key signs; null for none
         * @return this builder
         */
        public Builder keyId(String keyId) {
            this.keyId = keyId;
            return this;
        }

        /**
         * Sets how the client shows who it is.
         *
         * @param method the method; null is {@code PRIVATE_KEY_JWT} with a key, {@code CLIENT_SECRET_BASIC}
         *     without
         * @return this builder
         */
        public Builder method(ClientAuthentication method) {
            this.method = method;
            return this;
        }

        /**
         * Sets the scope to ask for.
         *
         * @param scope scopes with spaces between them; null for the provider's default
         * @return this builder
         */
        public Builder scope(String scope) {
            this.scope = scope;
            return this;
        }

        /**
         * Sets the audience to ask for, as some providers need it.
         *
         * @param audience the audience; null for none
         * @return this builder
         */
        public Builder audience(String audience) {
            this.audience = audience;
            return this;
        }

        /**
         * Adds a resource to ask for (RFC 8707).
         *
         * @param resource an absolute URI without a fragment
         * @return this builder
         * @throws IllegalArgumentException it is not one
         */
        public Builder resource(String resource) {
            try {
                var uri = new URI(resource);
                if (uri.isAbsolute() && uri.getRawFragment() == null) {
                    resources.add(resource);
                    return this;
                }
            } catch (URISyntaxException error) {
                // It is refused below.
            }
            throw new IllegalArgumentException(
                    "a resource is an absolute URI without a fragment, unlike '" + resource + "'");
        }

        /**
         * Makes the client. Nothing is fetched before the first call.
         *
         * @return the client
         * @throws IllegalArgumentException the issuer is not an address, the method does not fit the secret or
         *     the key, or the key cannot be used
         */
        public ClientCredentials build() {
            Addresses.http("the issuer", issuer);
            var built = new ClientCredentials(this);
            boolean signs = built.method == ClientAuthentication.PRIVATE_KEY_JWT;
            if (clientId.isEmpty()) {
                throw new IllegalArgumentException("the client id is empty");
            }
            if (secret != null && keyFile != null) {
                throw new IllegalArgumentException("a client has a secret or a key file, not both");
            }
            if (signs ? keyFile == null : secret == null || secret.isEmpty()) {
                throw new IllegalArgumentException(
                        "the method " + built.method.word() + " needs " + (signs ? "a key file" : "a secret"));
            }
            if (keyId != null && !signs) {
                throw new IllegalArgumentException("a key id goes with a key file");
            }
            if (signs) {
                SigningKey.read(keyFile);
            }
            return built;
        }
    }
}
