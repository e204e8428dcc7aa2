package io.extauthz.client;

import java.util.Map;

/** Who calls the API: a service key, or a client of the identity provider. */
public sealed interface Credentials permits ServiceKey, ClientCredentials, BearerToken {

    /**
     * Returns the credentials that an environment names.
     *
     * <p>{@code EXTAUTHZ_SERVICE_API_KEY}, or {@code AUTH_SERVER_URL} with {@code ADMIN_CLIENT_ID} and
     * {@code ADMIN_CLIENT_SECRET} or {@code ADMIN_CLIENT_KEY_FILE} (a private key in PEM); each of the two
     * secrets can be in a file that {@code NAME_FILE} names. {@code ADMIN_CLIENT_AUTH_METHOD},
     * {@code ADMIN_CLIENT_KEY_ID}, {@code ADMIN_CLIENT_SCOPE}, {@code ADMIN_CLIENT_AUDIENCE} and
     * {@code ADMIN_CLIENT_RESOURCE} are the options of {@link ClientCredentials.Builder}.
     *
     * @param environment the variables, such as {@link System#getenv()}
     * @return the credentials
     * @throws ExtauthzException the variables name none or both, only a part of one, or a file that cannot be
     *     used; the message has the names of the variables
     */
    static Credentials fromEnvironment(Map<String, String> environment) {
        return new Environment(environment).credentials();
    }
}
