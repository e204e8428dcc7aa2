package io.extauthz.client;

import java.net.URI;
import java.net.URISyntaxException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Checks and builds addresses. */
final class Addresses {

    private Addresses() {}

    /**
     * Returns an address that a request can be sent to.
     *
     * @throws IllegalArgumentException it is not one; the text does not quote what can hold a secret
     */
    static URI http(String what, URI address) {
        if (address.getRawUserInfo() != null) {
            throw new IllegalArgumentException(what + " has no user and no password in it");
        }
        if (address.getScheme() == null
                || !List.of("http", "https").contains(address.getScheme().toLowerCase(java.util.Locale.ROOT))) {
            throw new IllegalArgumentException(what + " is an http or https address, not '" + address + "'");
        }
        if (address.getHost() == null) {
            throw new IllegalArgumentException(
                    what + " has a host name of letters, digits, '-' and '.', unlike '" + address + "'");
        }
        if (address.getPort() == 0 || address.getPort() > 65535) {
            throw new IllegalArgumentException(what + " has a port from 1 to 65535, unlike '" + address + "'");
        }
        return address;
    }

    /**
     * Returns the address in a text.
     *
     * @throws IllegalArgumentException it is not one
     */
    static URI http(String what, String address) {
        try {
            return http(what, new URI(address));
        } catch (URISyntaxException error) {
            throw new IllegalArgumentException(what + " is an http or https address: " + error.getReason(), error);
        }
    }

    /** Returns the address of the API without its final slashes. */
    static String base(URI address) {
        String text = http("the address of the API", address).toString();
        if (address.getRawQuery() != null || address.getRawFragment() != null) {
            throw new IllegalArgumentException(
                    "the address of the API has no query and no fragment, such as https://extauthz.example.com, unlike"
                            + " '"
                            + text + "'");
        }
        return text.replaceAll("/+$", "");
    }

    /**
     * Returns a text as one segment of a path.
     *
     * @throws IllegalArgumentException no path has such a segment
     */
    static String segment(String text) {
        if (text.isBlank() || text.equals(".") || text.equals("..")) {
            throw new IllegalArgumentException("an id that the API gave is not '" + text + "'");
        }
        return encoded(text);
    }

    /** Returns a query with its question mark; empty without parameters. */
    static String query(Map<String, String> parameters) {
        return parameters.isEmpty()
                ? ""
                : parameters.entrySet().stream()
                        .map(each -> encoded(each.getKey()) + "=" + encoded(each.getValue()))
                        .collect(Collectors.joining("&", "?", ""));
    }

    private static String encoded(String text) {
        return form(text).replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    /** Returns a text as in {@code application/x-www-form-urlencoded}. */
    static String form(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }
}
