package io.extauthz.quarkus.runtime;

import java.util.Optional;

/**
 * The credentials of the application. Each setting is the environment variable that it names; a service key is
 * preferred, as it needs no token endpoint at start.
 */
public interface CredentialsConfig {

    /**
     * The service API key; refused in application.properties and application.yaml. Variable: {@code EXTAUTHZ_SERVICE_API_KEY}.
     *
     * @return the value
     */
    Optional<String> serviceApiKey();

    /**
     * A file with the service API key. Variable: {@code EXTAUTHZ_SERVICE_API_KEY_FILE}.
     *
     * @return the value
     */
    Optional<String> serviceApiKeyFile();

    /**
     * The issuer of the identity provider, for client credentials. Variable: {@code AUTH_SERVER_URL}.
     *
     * @return the value
     */
    Optional<String> authServerUrl();

    /**
     * The client. Variable: {@code ADMIN_CLIENT_ID}.
     *
     * @return the value
     */
    Optional<String> clientId();

    /**
     * The secret of the client; refused in application.properties and application.yaml. Variable: {@code ADMIN_CLIENT_SECRET}.
     *
     * @return the value
     */
    Optional<String> clientSecret();

    /**
     * A file with the secret of the client. Variable: {@code ADMIN_CLIENT_SECRET_FILE}.
     *
     * @return the value
     */
    Optional<String> clientSecretFile();

    /**
     * {@code client_secret_basic}, {@code client_secret_post} or {@code private_key_jwt}. Variable: {@code ADMIN_CLIENT_AUTH_METHOD}.
     *
     * @return the value
     */
    Optional<String> clientAuthMethod();

    /**
     * A file with the private key of the client, in PEM. Variable: {@code ADMIN_CLIENT_KEY_FILE}.
     *
     * @return the value
     */
    Optional<String> clientKeyFile();

    /**
     * The id of that key. Variable: {@code ADMIN_CLIENT_KEY_ID}.
     *
     * @return the value
     */
    Optional<String> clientKeyId();

    /**
     * The {@code scope} of the token request. Variable: {@code ADMIN_CLIENT_SCOPE}.
     *
     * @return the value
     */
    Optional<String> clientScope();

    /**
     * The {@code audience} of the token request. Variable: {@code ADMIN_CLIENT_AUDIENCE}.
     *
     * @return the value
     */
    Optional<String> clientAudience();

    /**
     * The {@code resource} of the token request, separated by spaces. Variable: {@code ADMIN_CLIENT_RESOURCE}.
     *
     * @return the value
     */
    Optional<String> clientResource();

    /**
     * A file with certificate authorities in PEM, trusted in addition to those of the JVM. Variable: {@code EXTAUTHZ_CA_FILE}.
     *
     * @return the value
     */
    Optional<String> caFile();
}
