package io.extauthz.client;

import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/** Fetches and keeps the token of a client. Not for several threads at once. */
final class TokenSource {

    private static final double RENEW_BEFORE_S = 30;
    private static final double ASSUMED_LIFE_S = 60;
    private static final double LONGEST_LIFE_S = TimeUnit.DAYS.toSeconds(3650);
    private static final Set<Integer> NOT_NOW = Set.of(429, 500, 502, 503, 504);
    private static final int MOST_BYTES = 1 << 20;
    private static final int MOST_SHOWN = 80;

    /** RFC 6750 2.1. */
    private static final Pattern B64_TOKEN = Pattern.compile("[A-Za-z0-9._~+/-]+=*");

    private final ClientCredentials client;
    private final Transport transport;
    private final Timing timing;
    private String token;
    private long renewAt;
    private String endpoint;

    TokenSource(ClientCredentials client, Transport transport, Timing timing) {
        this.client = client;
        this.transport = transport;
        this.timing = timing;
    }

    /**
     * Returns the value of {@code Authorization}, fetching a token when there is none that lasts.
     *
     * @throws UnreachableException not now; asking again can succeed
     * @throws ExtauthzException there is none
     */
    String authorization() throws InterruptedException {
        if (token == null || timing.nanoTime() - renewAt >= 0) {
            token = null;
            String address = endpoint == null ? discovered() : endpoint;
            Map<?, ?> document = fetched(address);
            endpoint = address;
            keep(document, address);
        }
        return "Bearer " + token;
    }

    /** Drops the token that the API refused, unless it has been replaced since. */
    void refused(String authorization) {
        if (token != null && authorization.equals("Bearer " + token)) {
            token = null;
        }
    }

    private String discovered() throws InterruptedException {
        // OpenID Connect Discovery 1.0, 4.1: a final slash is left out of the address, and out of it only.
        String issuer = client.issuer();
        String url = (issuer.endsWith("/") ? issuer.substring(0, issuer.length() - 1) : issuer)
                + "/.well-known/openid-configuration";
        Map<?, ?> document = asked("GET", url, null, Map.of());
        // 4.3: MUST be exactly the same.
        if (!issuer.equals(document.get("issuer"))) {
            throw new ExtauthzException(
                    url + " is of the issuer " + shown(document.get("issuer")) + ", not of '" + issuer + "'");
        }
        if (!(document.get("token_endpoint") instanceof String found)) {
            throw new ExtauthzException(url + " names no token_endpoint");
        }
        String scheme = address(found).getScheme().toLowerCase(Locale.ROOT);
        if (!scheme.equals("https")
                && !scheme.equals(address(issuer).getScheme().toLowerCase(Locale.ROOT))) {
            throw new ExtauthzException(
                    url + " names the token_endpoint " + shown(found) + ": the secret would go unprotected");
        }
        return found;
    }

    private Map<?, ?> fetched(String address) throws InterruptedException {
        List<String> form = new ArrayList<>();
        add(form, "grant_type", "client_credentials");
        add(form, "scope", client.scope());
        add(form, "audience", client.audience());
        client.resources().forEach(resource -> add(form, "resource", resource));
        var headers = new LinkedHashMap<String, String>();
        headers.put("content-type", "application/x-www-form-urlencoded");
        switch (client.method()) {
            case CLIENT_SECRET_BASIC -> {
                // RFC 6749 2.3.1: both are form-encoded before they are joined.
                String pair = Addresses.form(client.clientId()) + ":" + Addresses.form(client.secret());
                headers.put(
                        "authorization",
                        "Basic " + Base64.getEncoder().encodeToString(pair.getBytes(StandardCharsets.US_ASCII)));
            }
            case CLIENT_SECRET_POST -> {
                add(form, "client_id", client.clientId());
                add(form, "client_secret", client.secret());
            }
            case PRIVATE_KEY_JWT -> {
                add(form, "client_id", client.clientId());
                add(form, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                add(form, "client_assertion", assertion());
            }
        }
        try {
            return asked("POST", address, String.join("&", form).getBytes(StandardCharsets.US_ASCII), headers);
        } catch (ExtauthzException error) {
            endpoint = null;
            throw error;
        }
    }

    private String assertion() {
        try {
            return SigningKey.read(client.keyFile())
                    .assertion(
                            client.issuer(),
                            client.clientId(),
                            client.keyId(),
                            timing.now().getEpochSecond());
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(error.getMessage(), error);
        }
    }

    private static void add(List<String> form, String name, String value) {
        if (value != null && !value.isEmpty()) {
            form.add(name + "=" + Addresses.form(value));
        }
    }

    private void keep(Map<?, ?> document, String address) {
        if (!(document.get("access_token") instanceof String found)
                || !B64_TOKEN.matcher(found).matches()) {
            throw new ExtauthzException("the token endpoint " + address + " gave no access_token");
        }
        // RFC 6749 7.1: a token of a type that is not understood must not be used.
        if (!(document.get("token_type") instanceof String kind) || !kind.equalsIgnoreCase("bearer")) {
            throw new ExtauthzException("the token endpoint " + address + " gave a token of type "
                    + shown(document.get("token_type")) + ", not Bearer");
        }
        double lives = lifetime(document.get("expires_in"));
        token = found;
        renewAt = timing.nanoTime() + (long) (Math.max(lives - RENEW_BEFORE_S, lives / 2) * 1e9);
    }

    /** Returns how many seconds a token lives; some providers write the number as a string. */
    private static double lifetime(Object expiresIn) {
        if (expiresIn instanceof Number || expiresIn instanceof String) {
            try {
                double lives = Double.parseDouble(expiresIn.toString());
                if (Double.isFinite(lives) && lives > 0) {
                    return Math.min(lives, LONGEST_LIFE_S);
                }
            } catch (NumberFormatException error) {
                // The provider did not say it in a way that is understood.
            }
        }
        return ASSUMED_LIFE_S;
    }

    private Map<?, ?> asked(String method, String url, byte[] body, Map<String, String> headers)
            throws InterruptedException {
        Transport.Answer answer;
        try {
            answer = transport.send(method, address(url), headers, body, MOST_BYTES, false);
        } catch (Transport.TooLarge error) {
            throw new ExtauthzException(method + " " + url + ": " + error.getMessage(), error);
        } catch (IOException error) {
            throw new UnreachableException(method + " " + url + ": " + Transport.why(error), error);
        }
        if (NOT_NOW.contains(answer.status())) {
            throw new UnreachableException(method + " " + url + ": answered " + answer.status());
        }
        Object document = Json.read(answer.body());
        if (answer.status() == 200 && document instanceof Map<?, ?> members) {
            return members;
        }
        Object said = document instanceof Map<?, ?> members ? members.get("error") : null;
        throw new ExtauthzException(
                method + " " + url + ": answered " + answer.status() + (said == null ? "" : " " + shown(said)));
    }

    private static URI address(String url) {
        try {
            return Addresses.http("an address of the identity provider", url);
        } catch (IllegalArgumentException error) {
            throw new ExtauthzException(error.getMessage(), error);
        }
    }

    /** Returns what a provider said, short and on one line. */
    private static String shown(Object value) {
        String text = String.valueOf(value).replaceAll("[^\\x20-\\x7e]", "?");
        return "'" + (text.length() > MOST_SHOWN ? text.substring(0, MOST_SHOWN) : text) + "'";
    }
}
