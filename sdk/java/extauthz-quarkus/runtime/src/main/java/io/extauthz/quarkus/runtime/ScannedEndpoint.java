package io.extauthz.quarkus.runtime;

import io.extauthz.declare.Declaration;
import io.extauthz.declare.Endpoint;
import java.util.List;
import java.util.Set;

/**
 * An endpoint of the application as the build saw it, in parts that the build can record.
 *
 * @param className the class
 * @param methodName the method
 * @param httpMethods the HTTP methods, none for each
 * @param path the path in the neutral form
 * @param conditional whether it takes only some of the requests of path and methods
 * @param declared what it declares; null for nothing
 * @param templates the path templates of its class, of the locators that lead to it and of its method, as
 *     they are written; two endpoints are told apart at the first where they differ
 * @param key the method, as a request names it
 */
public record ScannedEndpoint(
        String className,
        String methodName,
        List<String> httpMethods,
        String path,
        boolean conditional,
        Declaration declared,
        List<String> templates,
        String key) {

    /** Copies the lists. */
    public ScannedEndpoint {
        httpMethods = List.copyOf(httpMethods);
        templates = List.copyOf(templates);
    }

    /** Returns the endpoint without what is of Quarkus alone. */
    Endpoint endpoint() {
        return new Endpoint(className, methodName, Set.copyOf(httpMethods), path, declared, conditional);
    }

    /**
     * Returns the key of a method.
     *
     * @param className the resource class
     * @param methodName the method
     * @param httpMethod the HTTP method
     * @param template the path template of the method, without the path of its class
     * @return a text that no other method has
     */
    public static String key(String className, String methodName, String httpMethod, String template) {
        String path = template == null || template.isEmpty() ? "/" : template;
        return className + '#' + methodName + ' ' + httpMethod + ' ' + path;
    }
}
