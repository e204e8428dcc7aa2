package io.extauthz.client;

import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Reads the settings of a client from environment variables; one that is empty is not set. */
final class Environment {

    private static final String SERVICE_KEY = "EXTAUTHZ_SERVICE_API_KEY";
    private static final String ISSUER = "AUTH_SERVER_URL";
    private static final String CLIENT_ID = "ADMIN_CLIENT_ID";
    private static final String CLIENT_SECRET = "ADMIN_CLIENT_SECRET";
    private static final String METHOD = "ADMIN_CLIENT_AUTH_METHOD";
    private static final String KEY_FILE = "ADMIN_CLIENT_KEY_FILE";
    private static final String KEY_ID = "ADMIN_CLIENT_KEY_ID";
    private static final String SCOPE = "ADMIN_CLIENT_SCOPE";
    private static final String AUDIENCE = "ADMIN_CLIENT_AUDIENCE";
    private static final String RESOURCE = "ADMIN_CLIENT_RESOURCE";
    private static final String API = "EXTAUTHZ_URL";
    private static final String CA_FILE = "EXTAUTHZ_CA_FILE";

    private final Map<String, String> variables;

    Environment(Map<String, String> variables) {
        this.variables = variables;
    }

    ExtauthzClient.Builder client() {
        String address = value(API);
        if (address == null) {
            throw new ExtauthzException(
                    API + " is not set; set it to the address of the API, such as https://extauthz.example.com");
        }
        try {
            URI api = Addresses.http("the address of the API", address);
            Addresses.base(api);
            ExtauthzClient.Builder builder = ExtauthzClient.builder(api, credentials());
            return builder.caCertificates(authorities());
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(API + ": " + error.getMessage(), error);
        }
    }

    private Path authorities() {
        Path file = file(CA_FILE);
        try {
            Trust.settings(null, file);
            return file;
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(CA_FILE + ": " + error.getMessage(), error);
        }
    }

    Credentials credentials() {
        String key = secret(SERVICE_KEY);
        if (key != null) {
            // Preferred to client credentials: it needs no token endpoint when the application starts.
            try {
                return new ServiceKey(key);
            } catch (IllegalArgumentException error) {
                throw new ExtauthzException(SERVICE_KEY + ": " + error.getMessage(), error);
            }
        }
        return clientCredentials(value(CLIENT_ID), secret(CLIENT_SECRET));
    }

    private Credentials clientCredentials(String clientId, String secret) {
        String issuer = value(ISSUER);
        Path keyFile = file(KEY_FILE);
        ClientAuthentication method = method();
        if (secret != null && keyFile != null) {
            throw new ExtauthzException(
                    CLIENT_SECRET + " and " + KEY_FILE + " are both set; keep the one that is meant");
        }
        var missing = new ArrayList<String>();
        if (issuer == null) {
            missing.add(ISSUER);
        }
        if (clientId == null) {
            missing.add(CLIENT_ID);
        }
        if (secret == null && keyFile == null) {
            missing.add(method == ClientAuthentication.PRIVATE_KEY_JWT ? KEY_FILE : CLIENT_SECRET);
        }
        if (!missing.isEmpty()) {
            throw new ExtauthzException(String.join(", ", missing) + " not set; set all of it, or " + SERVICE_KEY);
        }
        if (method != null && (method == ClientAuthentication.PRIVATE_KEY_JWT) != (keyFile != null)) {
            throw new ExtauthzException(METHOD + " is " + method.word() + ", which does not fit "
                    + (keyFile == null ? CLIENT_SECRET : KEY_FILE) + "; keep the one that is meant");
        }
        try {
            Addresses.http("the issuer", issuer);
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(ISSUER + ": " + error.getMessage(), error);
        }
        ClientCredentials.Builder builder = ClientCredentials.builder(issuer, clientId)
                .method(method)
                .scope(value(SCOPE))
                .audience(value(AUDIENCE));
        try {
            for (String resource : value(RESOURCE) == null
                    ? new String[0]
                    : value(RESOURCE).strip().split(" +")) {
                builder.resource(resource);
            }
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(RESOURCE + ": " + error.getMessage(), error);
        }
        if (keyFile == null) {
            if (value(KEY_ID) != null) {
                throw new ExtauthzException(KEY_ID + " is set without " + KEY_FILE + "; set both, or neither");
            }
            return builder.secret(secret).build();
        }
        try {
            return builder.keyFile(keyFile).keyId(value(KEY_ID)).build();
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(KEY_FILE + ": " + error.getMessage(), error);
        }
    }

    private ClientAuthentication method() {
        String word = value(METHOD);
        if (word == null) {
            return null;
        }
        var words = new ArrayList<String>();
        for (ClientAuthentication method : ClientAuthentication.values()) {
            if (method.word().equals(word)) {
                return method;
            }
            words.add(method.word());
        }
        throw new ExtauthzException(METHOD + " is one of " + String.join(", ", words) + ", not '" + word + "'");
    }

    private String value(String name) {
        String value = variables.get(name);
        return value == null || value.isEmpty() ? null : value;
    }

    private Path file(String name) {
        String file = value(name);
        try {
            return file == null ? null : Path.of(file);
        } catch (InvalidPathException error) {
            throw new ExtauthzException(name + " is not the name of a file: " + error.getReason(), error);
        }
    }

    /** Returns a secret from the environment or from the file that it names, without the file's line end. */
    private String secret(String name) {
        String variable = name + "_FILE";
        Path file = file(variable);
        if (file == null) {
            return value(name);
        }
        if (value(name) != null) {
            throw new ExtauthzException(name + " and " + variable + " are both set; keep one");
        }
        try {
            String secret = Files.readString(file, StandardCharsets.UTF_8).replaceAll("[\\r\\n]+$", "");
            return secret.isEmpty() ? null : secret;
        } catch (IOException error) {
            throw new ExtauthzException(variable + ": '" + file + "' cannot be read: " + error, error);
        }
    }
}
