package io.extauthz.declare;

import java.util.Locale;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * A method of the application that requests are dispatched to.
 *
 * <p>A path is written in a neutral form, literals decoded: <code>{name}</code> is one segment that is not
 * empty, <code>{name:regex}</code> some of those segments, {@code *} one segment without a name, and a final
 * {@code /**} or <code>{*name}</code> the prefix and everything below it.
 *
 * @param className the class, for messages
 * @param methodName the method, for messages
 * @param httpMethods the HTTP methods that it takes, an empty set for all; HEAD is GET, as for every decision
 * @param path the path in the neutral form
 * @param declared what it declares; null where it declares nothing
 * @param conditional whether it takes only some of the requests of its path and methods, by a media type, a
 *     parameter or a header
 */
public record Endpoint(
        String className,
        String methodName,
        Set<String> httpMethods,
        String path,
        Declaration declared,
        boolean conditional) {

    /** Takes the parts; HEAD becomes GET. */
    public Endpoint {
        Objects.requireNonNull(className, "className");
        Objects.requireNonNull(methodName, "methodName");
        Objects.requireNonNull(path, "path");
        // One method that takes HEAD alone does not take the GET requests that a decision is about, too.
        conditional |= httpMethods.contains("HEAD") && !httpMethods.contains("GET");
        httpMethods = httpMethods.stream()
                .map(method -> method.toUpperCase(Locale.ROOT))
                .map(method -> method.equals("HEAD") ? "GET" : method)
                .collect(Collectors.toUnmodifiableSet());
    }

    /**
     * Names an endpoint that takes every request of its path and methods.
     *
     * @param className the class, for messages
     * @param methodName the method, for messages
     * @param httpMethods the HTTP methods that it takes, an empty set for all
     * @param path the path in the neutral form
     * @param declared what it declares; null where it declares nothing
     */
    public Endpoint(
            String className, String methodName, Set<String> httpMethods, String path, Declaration declared) {
        this(className, methodName, httpMethods, path, declared, false);
    }

    /**
     * Returns the method for messages.
     *
     * @return class and method, such as {@code com.acme.Invoices.read}
     */
    public String method() {
        return className + "." + methodName;
    }

    /**
     * Returns the endpoint for messages.
     *
     * @return class, method and mapping, such as <code>com.acme.Invoices.read (GET /invoices/{number})</code>
     */
    public String shown() {
        String methods = httpMethods.isEmpty() ? "every method" : String.join(", ", new TreeSet<>(httpMethods));
        return method() + " (" + methods + " " + (path.isEmpty() ? "/" : path) + ")";
    }
}
