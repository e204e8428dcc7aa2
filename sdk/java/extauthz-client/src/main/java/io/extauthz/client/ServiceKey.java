package io.extauthz.client;

import java.util.regex.Pattern;

/** A service API key ({@code sak_live_...}). */
public final class ServiceKey implements Credentials {

    private static final Pattern WORD = Pattern.compile("[\\x21-\\x7e]+");

    private final String key;

    /**
     * Takes the key.
     *
     * @param key the whole key
     * @throws IllegalArgumentException no header can carry it, such as with the line end of a file
     */
    public ServiceKey(String key) {
        if (!WORD.matcher(key).matches()) {
            throw new IllegalArgumentException(
                    "a service key is one word of ASCII characters; is there a line end in it?");
        }
        this.key = key;
    }

    String key() {
        return key;
    }

    /**
     * Returns a text without the key.
     *
     * @return the name of the class
     */
    @Override
    public String toString() {
        return "ServiceKey[...]";
    }
}
