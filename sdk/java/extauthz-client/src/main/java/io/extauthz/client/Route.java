package io.extauthz.client;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * Methods and a path template that lead to a resource.
 *
 * @param methods the HTTP methods, such as {@code GET}
 * @param path the path template: {@code {name}} is one segment, a final {@code /**} everything below
 * @param host the host; null is every host
 * @param action the action; null is the API's default, the text after the last {@code :} of the resource's
 *     name
 * @param authentication whether a verified token is needed; null is the API's default, {@code REQUIRED}, on a
 *     public resource {@code OPTIONAL}
 */
public record Route(List<String> methods, String path, String host, String action, Authentication authentication) {

    /** Copies the methods. */
    public Route {
        methods = List.copyOf(methods);
        Objects.requireNonNull(path, "path");
    }

    /**
     * Makes a route of every host with the API's defaults.
     *
     * @param methods the HTTP methods, such as {@code GET}
     * @param path the path template
     */
    public Route(List<String> methods, String path) {
        this(methods, path, null, null, null);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        Documents.put(members, "host", host);
        members.put("methods", methods);
        members.put("path", path);
        Documents.put(members, "action", action);
        Documents.put(members, "authentication", Words.of(authentication));
        return members;
    }

    static Route read(Object document) {
        var members = new Members(document);
        return new Route(
                members.texts("methods"),
                members.text("path"),
                members.optionalText("host"),
                members.text("action"),
                members.choice("authentication", Authentication.class));
    }
}
