(abstract_class_declaration) @class
(interface_declaration) @interface
(enum_declaration) @enum
(type_alias_declaration) @type
(internal_module) @module
(module) @module

(function_signature) @function.signature
(method_signature) @method.signature
(abstract_method_signature) @method.signature
(public_field_definition
  value: [(arrow_function) (function_expression)]) @method

(import_require_clause source: (string) @import)
